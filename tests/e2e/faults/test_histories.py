"""Members of rooms go on through faults of every kind, and their history is a correct chat's.

In the manner of Jepsen: `ashchat_e2e.histories.checks` has what is checked, and
`ashchat_e2e.histories.nemesis` the faults. `make soak` goes on for ten minutes.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from ashchat_dev.environment import Environment
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.backends import MongoAs
from ashchat_e2e.container_runtime import Runtime
from ashchat_e2e.histories.checks import check
from ashchat_e2e.histories.nemesis import FAULTS, Place
from ashchat_e2e.histories.trial import trial
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.sampling import seed, whole

FAULTS_S: Final = 540.0 if whole() else 25.0
"""Seconds after which no further fault begins."""

PAUSE_S: Final = 2.0
"""Between two faults."""

ROOMS: Final = 4 if whole() else 2
OPERATIONS_MIN: Final = 1_000 if whole() else 50
"""Fewer acknowledged operations would prove little."""

RECOVERY_S: Final = 180.0


async def test_the_history_through_faults_is_that_of_a_correct_chat(
    *,
    cluster: Cluster,
    where: Environment,
    person: PersonFactory,
    runtime: Runtime,
    mongo_as: MongoAs,
    record_property: Callable[[str, object], None],
) -> None:
    draw = random.Random(f"{seed()} faults")  # noqa: S311 (a sample, not a secret)
    injected: list[str] = []
    async with trial(person, where.url, direct=ROOMS, groups=ROOMS // 2, seed=seed()) as tried:
        place = Place(cluster, runtime, tried.links, draw)

        async def faults() -> None:
            until = time.monotonic() + FAULTS_S
            while True:
                for fault in draw.sample(FAULTS, len(FAULTS)):
                    if time.monotonic() > until:
                        await cluster.wait_ready(within=RECOVERY_S)
                        return
                    await fault(place)
                    injected.append(fault.__name__)
                    await asyncio.sleep(PAUSE_S)

        await tried.through(faults)
        await tried.conclude(await mongo_as("chat"))
    tally = tried.run.tally()
    record_property("history", f"{injected}: {tally}, outsider refused {tried.outsider.refused}")
    check(tried.run)
    assert tally["acknowledged"] >= OPERATIONS_MIN
    assert tried.outsider.refused
    assert all(each.changes for each in tried.successions)
