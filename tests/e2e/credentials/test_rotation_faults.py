"""Any API call of a rotation may fail, in any way: the rotation completes.

As in test_api_faults, the operator of this working tree runs behind a proxy that fails one call.
The backends are external and the services have no pods, so that only the operator is active.
There are no sign-ins, so a previous signing key need not wait until tokens have expired.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.suite_namespaces import SCOPED
from ashchat_dev.waiting import until
from ashchat_e2e.external_servers import BOSS, SERVERS, Outside
from ashchat_e2e.fault_proxy import Fault, Proxy, Tried, proxied
from ashchat_e2e.rotation import KINDS, entries, let_tokens_expire, over, rotate
from ashchat_e2e.sampling import whole
from ashchat_e2e.temporary_namespace import idle

pytestmark = pytest.mark.slow

Object = dict[str, Any]

PARALLEL: Final = 4 if whole() else 2
WITHIN_S: Final = 90.0
NAME: Final = "demo"


@dataclass
class Ground:
    """The test environment of this module."""

    proxy: Proxy
    outside: Outside
    places: list[Cluster]
    secrets: dict[str, set[str]] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    """The number of users that each AshChat has in Redis."""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def ground(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ground]:
    """Provide an operator behind the proxy, external servers, and AshChats that are Ready."""
    names = SCOPED[6 : 6 + PARALLEL]
    folder = tmp_path_factory.mktemp("operator")
    outside = Outside(cluster, "ashchat-rotation-servers")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cluster.delete, "namespaces", outside.namespace)
        await outside.begin()
        proxy, places = await stack.enter_async_context(proxied(cluster, names, folder))
        await outside.up()
        found = Ground(proxy, outside, places)
        await asyncio.gather(*(begin(found, own) for own in places))
        yield found


async def begin(found: Ground, own: Cluster) -> None:
    """Create an AshChat and wait until it is Ready."""
    there = Outside(found.outside.cluster, own.namespace, found.outside.authority)
    await there.put("authority", {"ca.crt": found.outside.authority.certificate})
    blocks = {}
    for server in SERVERS:
        await there.put(server, found.outside.secret(server, by_address=True))
        tls = {"caSecretRef": {"name": "authority"}}
        blocks[server] = {"external": {"connectionSecretRef": {"name": server}, "tls": tls}}
    body = idle(NAME, **blocks)
    body["spec"]["translate"]["cache"] = blocks["redis"]
    await own.create("ashchats", body)

    async def ready() -> bool:
        conditions = (await own.resource()).get("status", {}).get("conditions", [])
        return any(x["type"] == "Ready" and x["status"] == "True" for x in conditions)

    await until(ready, within=WITHIN_S, what=f"{own.namespace} Ready")
    found.secrets[own.namespace] = await secret_names(own)
    found.users[own.namespace] = (await users(found, own))["a"]


async def secret_names(own: Cluster) -> set[str]:
    return {item["metadata"]["name"] for item in await own.list("secrets")}


async def once(
    found: Ground, own: Cluster, number: int | None = None, fault: Fault = Fault.ERROR
) -> tuple[int, bool]:
    """Rotate once, with one failed call.

    Returns:
        The number of calls, and whether the call that must fail was among them.
    """
    traffic = found.proxy.traffic[own.namespace]
    before = await entries(own)
    traffic.begin(number, fault)
    token = await rotate(own, *KINDS)
    await let_tokens_expire(own, within=WITHIN_S)
    await over(own, token, KINDS, within=WITHIN_S)
    count = len(traffic.calls)
    came = bool(traffic.failed)
    await until(
        traffic.settled, within=WITHIN_S, every=0.2, what="two reconcile passes without a write"
    )
    after = await entries(own)
    for kind in KINDS:
        assert after[kind]["active"] != before[kind]["active"], kind
    assert await secret_names(own) == found.secrets[own.namespace], "a Secret was added or deleted"
    ring = await own.secret(f"{NAME}-auth-key-ring")
    assert [x for x in ring if x.endswith(".key")] == [f"{after['key-ring']['active']}.key"]
    assert ring == await own.secret(f"{NAME}-auth-key-ring-copy")
    keys = await own.secret(f"{NAME}-auth-signing-keys")
    assert [x for x in keys if x.endswith(".pem")] == [f"{after['signing-keys']['active']}.pem"]
    assert keys == await own.secret(f"{NAME}-auth-signing-keys-copy")
    assert await users(found, own) == {after["users"]["active"]: found.users[own.namespace]}
    return count, came


async def users(found: Ground, own: Cluster) -> dict[str, int]:
    """Return how many users of each generation an AshChat has in Redis."""
    outside = found.outside
    client = Redis(
        host=outside.addresses["redis"],
        username=BOSS,
        password=outside.words[BOSS],
        ssl=True,
        ssl_ca_data=outside.authority.certificate,
    )
    counts: dict[str, int] = {}
    try:
        for name in await client.acl_users():
            text = name.decode() if isinstance(name, bytes) else str(name)
            if text.startswith(f"{own.namespace}_{NAME}_"):
                generation = text.rpartition("-")[2]
                counts[generation] = counts.get(generation, 0) + 1
    finally:
        await client.aclose()
    return counts


async def test_whichever_call_of_a_rotation_fails_it_ends_in_the_same_state(
    ground: Ground, measure: Callable[[str, float], None]
) -> None:
    count, _ = await once(ground, ground.places[0])
    todo = Tried.wanted().cases({"rotation": count}, few=3)
    began, failures = time.monotonic(), []

    async def worker(own: Cluster) -> None:
        while todo:
            sweep, number, fault = todo.pop()
            try:
                _, came = await once(ground, own, number, fault)
                if not came:
                    todo.append((sweep, number * 2 // 3, fault))
            except AssertionError as error:
                call = ground.proxy.traffic[own.namespace].failed
                failures.append(f"#{number} ({call}) {fault}: {error}")
                return  # its leftovers would affect the next rotation

    tried = len(todo)
    await asyncio.gather(*(worker(own) for own in ground.places))
    measure(f"{tried} rotations with one failed call each", time.monotonic() - began)
    assert not failures, "\n".join(failures)
    assert not todo, f"{len(todo)} rotations were not tried"
