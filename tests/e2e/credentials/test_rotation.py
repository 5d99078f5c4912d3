"""Every credential rotates under load; no request fails, and old credentials are rejected."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from ashchat_core.topology import Service
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.backends import accepts
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.rotation import KINDS, entries, logins, over, rotate, short_lives
from ashchat_e2e.token_forger import Forger, status_with
from ashchat_e2e.traffic import traffic

pytestmark = pytest.mark.slow

BACKENDS = ("rabbitmq", "redis", "cache", "mongodb")
WITHIN_S = 300.0
"""A generous limit: it includes a token's lifetime, its leeway and the kubelet's interval."""

Measure = Callable[[str, float], None]


@pytest_asyncio.fixture(loop_scope="session", scope="module", autouse=True)
async def short(cluster: Cluster) -> AsyncIterator[None]:
    """Shorten the lifetime of access tokens, so that the previous signing key is removed soon."""
    async with short_lives(cluster):
        yield


async def lives(cluster: Cluster) -> dict[str, list[int]]:
    """Return every pod of the platform with its restart count."""
    pods = await cluster.list("pods", cluster.labels())
    return {
        pod["metadata"]["name"]: [x["restartCount"] for x in pod["status"]["containerStatuses"]]
        for pod in pods
    }


async def test_all_credentials_rotate_under_load_and_nothing_fails(
    cluster: Cluster, person: PersonFactory, mailbox: Mailbox, measure: Measure
) -> None:
    doubly, forger = await person("Dora", "es"), await Forger.of(cluster)
    authenticator = await doubly.enrol_authenticator()
    former, before, pods = await logins(cluster), await entries(cluster), await lives(cluster)
    began = time.monotonic()
    async with traffic(person, mailbox) as seen:
        await until(lambda: seen.done["message"] >= 8, within=60, what="a conversation")
        began = time.monotonic()
        stamp = await rotate(cluster)
        for kind in KINDS:
            await over(cluster, stamp, (kind,), within=WITHIN_S)
            measure(f"rotation of {kind}", time.monotonic() - began)
        more = seen.done["message"] + 20
        await until(
            lambda: seen.done["message"] >= more, within=60, what="the conversation continuing"
        )
    after, present = await entries(cluster), await logins(cluster)

    assert seen.failed == []
    assert seen.reconnects == 0, "a socket was lost"
    assert min(seen.done[x] for x in ("message", "sign-in", "refresh", "sign-up", "profile")) >= 5
    for name, seconds in seen.slowest.items():
        measure(f"slowest {name} meanwhile", seconds)
    assert await lives(cluster) == pods, "a pod was restarted"
    for kind in KINDS:
        assert after[kind]["active"] != before[kind]["active"], kind
    assert set(former).isdisjoint(present)
    for backend, at_home in (await homes(cluster)).items():
        assert at_home, backend
        for username, password in present.items():
            if username.rpartition("-")[0] in at_home:
                assert await accepts(cluster, backend, username, password), (backend, username)
        for username, password in former.items():
            assert not await accepts(cluster, backend, username, password), (backend, username)
    keys = await cluster.secret(f"{cluster.name}-auth-signing-keys")
    assert {x for x in keys if x.endswith(".pem")} == {f"{after['signing-keys']['active']}.pem"}
    # A token that is valid except for its key: the previous key's tokens are rejected.
    now = int(time.time())
    fresh: dict[str, Any] = {"iat": now, "nbf": now, "exp": now + 60}
    assert await status_with(doubly, (await Forger.of(cluster)).token(doubly, **fresh)) == 200
    assert await status_with(doubly, forger.token(doubly, **fresh)) == 401
    ring = await cluster.secret(f"{cluster.name}-auth-key-ring")
    assert {x for x in ring if x.endswith(".key")} == {f"{after['key-ring']['active']}.key"}
    assert ring == await cluster.secret(f"{cluster.name}-auth-key-ring-copy")
    # Data sealed with the previous key has been re-sealed.
    async with doubly.on_another_device() as elsewhere:
        await elsewhere.sign_in_with(authenticator)


async def homes(cluster: Cluster) -> dict[str, set[str]]:
    """Return which services have an address at each backend, by the hosts in their Secrets."""
    found: dict[str, set[str]] = {backend: set() for backend in BACKENDS}
    for service in Service:
        data = await cluster.secret(f"{cluster.name}-{service}-credentials")
        for key, raw in data.items():
            if key.endswith(".uri"):
                host = (urlsplit(raw.decode().strip()).hostname or "").partition(".")[0]
                found[host.removeprefix(f"{cluster.name}-")].add(service)
    return found


@pytest.mark.parametrize("kind", ["key-ring"])
async def test_a_single_kind_rotates_without_the_others(cluster: Cluster, kind: str) -> None:
    before = await entries(cluster)
    await over(cluster, await rotate(cluster, kind), (kind,), within=WITHIN_S)
    after = await entries(cluster)
    assert {x for x in KINDS if after[x]["active"] != before[x]["active"]} == {kind}
