"""Buckets: the same in Redis and in the process, and what happens while Redis does not answer."""

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from fakeredis import FakeAsyncRedis, FakeServer
from prometheus_client import REGISTRY
from redis import exceptions

from ashchat_core.admission.counters import Counters, MemoryCounters, RedisCounters
from ashchat_core.admission.gate import Admission
from ashchat_core.admission.networks import network_buckets, networks
from ashchat_core.admission.rules import Bucket, Rate
from ashchat_core.redis import Redis

NOW = 1_800_000_000.0


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest_asyncio.fixture(params=["memory", "redis"])
async def counters(request: pytest.FixtureRequest, server: FakeServer) -> AsyncIterator[Counters]:
    if request.param == "memory":
        yield MemoryCounters()
        return
    async with FakeAsyncRedis(server=server, decode_responses=True) as client:
        yield RedisCounters(
            cast("Redis", SimpleNamespace(client=client, key=str)), "auth:admission"
        )


class Clock:
    """The time of the limits, near the real one: Redis expires keys by its own."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(counters: Counters, clock: Clock) -> Admission:
    return Admission(counters, clock=clock.time)


THREE = Rate(3, 180)


def bucket(limit: str = "a", who: str = "ana", rate: Rate = THREE, cost: float = 1) -> Bucket:
    return Bucket(limit, (who,), rate, cost)


async def take(admission: Admission, *buckets: Bucket) -> int:
    return await admission.take(buckets)


async def test_a_bucket_holds_its_capacity_and_refills_steadily(
    admission: Admission, clock: Clock
) -> None:
    assert [await take(admission, bucket()) for _ in range(5)] == [0, 0, 0, 60, 60]
    clock.now += 59
    assert await take(admission, bucket()) == 1
    clock.now += 1
    assert await take(admission, bucket()) == 0
    clock.now += 3600
    assert [await take(admission, bucket()) for _ in range(4)] == [0, 0, 0, 60]


async def test_all_buckets_are_charged_or_none(admission: Admission) -> None:
    narrow, wide = bucket("narrow", rate=Rate(1, 60)), bucket("wide", rate=Rate(2, 60))
    assert await take(admission, narrow, wide) == 0
    assert await take(admission, narrow, wide) == 60
    assert await take(admission, wide) == 0, "what was refused is not charged"
    assert await take(admission, wide) == 30


async def test_the_longest_wait_counts(admission: Admission) -> None:
    short, long = bucket("short", rate=Rate(1, 10)), bucket("long", rate=Rate(1, 100))
    await take(admission, short, long)
    assert await take(admission, long, short) == await take(admission, short, long) == 100


async def test_what_is_given_back_was_not_charged(admission: Admission) -> None:
    first, second = bucket("first", rate=Rate(2, 60)), bucket("second", rate=Rate(1, 60))
    for _ in range(5):
        assert await take(admission, first, second) == 0
        await admission.give_back([first, second])
    await take(admission, first)
    await admission.give_back([first, first, first])
    assert [await take(admission, first) for _ in range(3)] == [0, 0, 30], "never more than full"


async def test_a_bucket_can_be_refilled(admission: Admission) -> None:
    assert [await take(admission, bucket(rate=Rate(1, 60))) for _ in range(2)] == [0, 60]
    await admission.refill([bucket()])
    assert await take(admission, bucket(rate=Rate(1, 60))) == 0


async def test_a_cost_above_the_capacity_empties_the_bucket(admission: Admission) -> None:
    large = bucket(rate=Rate(100, 100), cost=1000)
    assert [await take(admission, large), await take(admission, large)] == [0, 100]


async def test_a_fractional_cost_adds_up(admission: Admission) -> None:
    part = bucket(rate=Rate(1, 3600), cost=0.1)
    assert [await take(admission, part) for _ in range(11)] == [0] * 10 + [360]


async def test_subjects_do_not_share_buckets(admission: Admission) -> None:
    rate = Rate(1, 60)
    assert await take(admission, Bucket("a", ("ana", "b"), rate)) == 0
    assert await take(admission, Bucket("a", ("anab", ""), rate)) == 0
    assert await take(admission, Bucket("a", ("ana", "b"), rate)) == 60


async def test_refusals_are_counted_by_limit(admission: Admission) -> None:
    def refused() -> float:
        labels = {"limit": "counted.account"}
        return REGISTRY.get_sample_value("ashchat_admission_refused_total", labels) or 0

    before = refused()
    one = bucket("counted.account", rate=Rate(1, 60))
    assert await admission.has_room([one])
    assert not await admission.has_room([one])
    assert refused() == before
    await take(admission, one)
    assert refused() == before + 1


async def test_keys_reveal_nothing_and_expire_when_the_bucket_is_full(server: FakeServer) -> None:
    async with FakeAsyncRedis(server=server, decode_responses=True) as client:
        named = SimpleNamespace(client=client, key=lambda name: f"ash-{name}")
        counters = RedisCounters(cast("Redis", named), "auth:admission")
        await counters.charge([bucket(who="ana@example.org")], time.time())
        (key,) = map(str, await client.keys("*"))
        assert key.startswith("ash-auth:admission:a:")
        assert "ana" not in key.removeprefix("ash-auth:admission:a:")
        assert 59_000 < await client.pttl(key) <= 60_000
        await counters.give_back([bucket(who="ana@example.org")], time.time())
        assert not await client.keys("*")


async def test_without_redis_the_process_counts_and_nobody_is_refused_for_it(
    server: FakeServer, clock: Clock
) -> None:
    async with FakeAsyncRedis(server=server, decode_responses=True) as client:
        shared = RedisCounters(cast("Redis", SimpleNamespace(client=client, key=str)), "p")
        admission = Admission(shared, clock=clock.time)
        server.connected = False
        assert [await take(admission, bucket()) for _ in range(4)] == [0, 0, 0, 60]


@pytest.mark.parametrize(
    "failure",
    [
        exceptions.OutOfMemoryError("OOM"),
        exceptions.ReadOnlyError("READONLY"),
        exceptions.NoPermissionError("NOPERM"),
        exceptions.ConnectionError("away"),
    ],
)
async def test_a_redis_that_says_no_is_not_asked_again_for_a_moment(failure: Exception) -> None:
    asked = 0

    class Broken(MemoryCounters):
        async def charge(self, *_: Any) -> None:
            nonlocal asked
            asked += 1
            raise failure

    admission = Admission(Broken())
    assert [await take(admission, bucket()) for _ in range(4)] == [0, 0, 0, 60]
    assert asked == 1


async def test_a_process_stores_a_limited_number_of_buckets() -> None:
    counters = MemoryCounters(size=2)
    for who in ("ana", "luz", "eva"):
        await counters.charge([bucket(who=who, rate=Rate(1, 60))], NOW)
    assert await counters.charge([bucket(who="eva", rate=Rate(1, 60))], NOW) is not None
    assert await counters.charge([bucket(who="ana", rate=Rate(1, 60))], NOW) is None


@pytest.mark.parametrize(
    ("address", "shares"),
    [
        ("192.0.2.7", {"192.0.2.7/32": 1, "192.0.2.0/24": 16}),
        ("::ffff:192.0.2.7", {"192.0.2.7/32": 1, "192.0.2.0/24": 16}),
        (
            "2001:db8:1:2ff:3:4:5:6",
            {"2001:db8:1:2ff::/64": 1, "2001:db8:1:200::/56": 4, "2001:db8:1::/48": 16},
        ),
        ("testclient", {"testclient": 1}),
    ],
)
def test_the_networks_of_a_client(address: str, shares: dict[str, int]) -> None:
    assert networks(address) == shares


@pytest.mark.parametrize(
    ("spread", "admitted"),
    [
        (lambda n: f"2001:db8:1:1::{n:x}", 10),  # one /64
        (lambda n: f"2001:db8:1:1{n % 256:02x}::1", 40),  # 256 networks of one /56
        (lambda n: f"2001:db8:1:{n % 65536:x}::1", 160),  # 65,536 networks of one /48
        (lambda n: f"192.0.2.{n % 256}", 160),
        (lambda _: "192.0.2.1", 10),
    ],
    ids=["/64", "/56", "/48", "/24", "/32"],
)
async def test_addresses_of_one_network_are_few_clients(spread: Any, admitted: int) -> None:
    counters, rate = MemoryCounters(), Rate(10, 3600)
    outcomes = [
        await counters.charge(network_buckets("sign-up.network", spread(number * 7), rate), NOW)
        for number in range(2000)
    ]
    assert outcomes.count(None) == admitted
