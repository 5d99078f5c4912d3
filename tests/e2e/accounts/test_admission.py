"""Counters of limits are in the Redis that may evict, and nobody needs it to sign in."""

from contextlib import AsyncExitStack

from redis.asyncio import Redis

from ashchat_auth.limits import AuthLimits
from ashchat_auth.settings import Settings
from ashchat_core.admission.gate import Admission
from ashchat_core.text import address_key
from ashchat_core.topology import Service
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.backends import forwarded_uri
from ashchat_e2e.people import PersonFactory

SIGN_INS = 5


async def test_counters_are_in_the_redis_that_may_evict(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana = await person()
    thief = person.names_only("Thief", "en", email=ana.email, password="not the password")
    assert (await thief.signin()).status == 401
    limits = AuthLimits(Admission(), Settings(_env_file=None))
    bucket = limits._bucket("password.strangers", address_key(ana.email))
    key = f"auth:admission:{bucket.key}"
    found = {}
    async with AsyncExitStack() as stack:
        for name in ("counters", "redis"):
            uri = await forwarded_uri(cluster, stack, Service.AUTH.value, f"{name}.uri", 6379)
            client = await stack.enter_async_context(Redis.from_url(uri, decode_responses=True))
            found[name] = await client.ttl(key)
    assert 0 < found["counters"] <= bucket.charge_seconds
    assert found["redis"] == -2, "no such key"


async def test_sign_in_works_while_the_counters_are_away(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana = await person()
    await cluster.kill("cache")
    assert [(await ana.signin()).status for _ in range(SIGN_INS)] == [200] * SIGN_INS
    thief = person.names_only("Thief", "en", email=ana.email, password="not the password")
    assert (await thief.signin()).status == 401
    await cluster.wait_ready(within=120)
