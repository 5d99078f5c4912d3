"""The operator is killed during rotations under load: the rotation completes."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest
import pytest_asyncio

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_e2e.backends import accepts
from ashchat_e2e.container_runtime import Runtime
from ashchat_e2e.operator_pods import kill_leader
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.rotation import KINDS, entries, logins, over, rotate, short_lives
from ashchat_e2e.sampling import seed, whole
from ashchat_e2e.traffic import traffic

pytestmark = [pytest.mark.disruptive, pytest.mark.slow]

WITHIN_S = 300.0
EVERY = 1 if whole() else 3
"""The operator is killed at every third step of a rotation, starting at a seeded offset; at every
step in `make soak`."""

LEAST = 2
"""Minimum number of kills for the test to be meaningful."""

Measure = Callable[[str, float], None]


@pytest_asyncio.fixture(loop_scope="session", scope="module", autouse=True)
async def short(cluster: Cluster) -> AsyncIterator[None]:
    """Shorten the lifetime of access tokens, so that the previous signing key is removed soon."""
    async with short_lives(cluster):
        yield


async def test_an_operator_killed_at_every_step_ends_in_the_same_state(
    *,
    cluster: Cluster,
    person: PersonFactory,
    mailbox: Mailbox,
    measure: Measure,
    runtime: Runtime,
) -> None:
    former, before = await logins(cluster), await entries(cluster)
    killed: list[list[str]] = []
    steps = count(random.Random(seed()).randrange(EVERY))  # noqa: S311 (a sample, not a secret)
    ended = asyncio.Event()

    async def kill() -> None:
        """Kill the operator whenever a rotation has advanced by a step."""
        known = dict.fromkeys(KINDS, "Idle")
        while not ended.is_set():
            now = {kind: entry["phase"] for kind, entry in (await entries(cluster)).items()}
            # All progress within one reconcile pass counts as one step.
            if step := [f"{kind} {phase}" for kind, phase in now.items() if known[kind] != phase]:
                known |= now
                if next(steps) % EVERY == 0:
                    await kill_leader(cluster, runtime)
                    killed.append(step)
            await asyncio.sleep(0.05)

    async with traffic(person, mailbox) as seen:
        killer = asyncio.create_task(kill())
        try:
            began = time.monotonic()
            await over(cluster, await rotate(cluster), within=WITHIN_S)
            measure(
                f"all kinds rotated, operator killed {len(killed)} times", time.monotonic() - began
            )
        finally:
            ended.set()
            await killer
    assert seen.failed == []
    assert seen.reconnects == 0
    assert sum(map(len, killed)) >= (len(KINDS) * 3 if whole() else LEAST), killed
    after = await entries(cluster)
    for kind in KINDS:
        assert after[kind]["active"] != before[kind]["active"], kind
    assert set(former).isdisjoint(await logins(cluster))
    for username, password in former.items():
        assert not await accepts(cluster, "rabbitmq", username, password)
    keys = await cluster.secret(f"{cluster.name}-auth-signing-keys")
    assert len([x for x in keys if x.endswith(".pem")]) == 1
    ring = await cluster.secret(f"{cluster.name}-auth-key-ring")
    assert len([x for x in ring if x.endswith(".key")]) == 1
    await cluster.wait_ready(within=60)
