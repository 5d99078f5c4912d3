"""When the backends are checked, and which results count."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ashchat_core.api.reasons import Reason
from ashchat_operator.backends import ensure
from ashchat_operator.backends.base import Backend, BackendResult
from ashchat_operator.backends.ensure import Backends
from ashchat_operator.backends.redis.desired import RedisTarget
from ashchat_operator.kube.workers import JITTER
from ashchat_operator.reconcile import declare
from ashchat_operator.reconcile.declare import STALE_SECONDS, Declarer, Turns

IN_ORDER = BackendResult(ready=True, reason=Reason.DECLARED, message="", changes=("x",))
FINE = {Backend.REDIS: IN_ORDER}
BAD = {Backend.REDIS: BackendResult(ready=False, reason=Reason.UNREACHABLE, message="")}
WANTED = Backends(logins=(), redis=RedisTarget("redis", 6379, "admin", "secret"))
BOTH = replace(WANTED, cache=RedisTarget("cache", 6379, "admin", "secret"))
BOTH_FINE = {Backend.REDIS: IN_ORDER, Backend.CACHE: IN_ORDER}


class Asked:
    """Replaces the check of the backends: counts calls, and returns when `may` is set."""

    def __init__(self) -> None:
        self.count = 0
        self.answer = BOTH_FINE
        self.may = asyncio.Event()
        self.may.set()
        self.silent: frozenset[Backend] = frozenset()

    async def ensure(self, wanted: Backends) -> dict[Backend, BackendResult]:
        self.count += 1
        if wanted.targets.keys() & self.silent:
            await asyncio.get_running_loop().create_future()
        await self.may.wait()
        return {backend: self.answer[backend] for backend in wanted.targets}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    result = Asked()
    monkeypatch.setattr(ensure, "ensure", result.ensure)
    monkeypatch.setattr(declare, "PATIENCE_SECONDS", 0.02)
    return result


@pytest.fixture
async def woken() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def declarer(woken: asyncio.Event) -> Declarer:
    return Declarer(woken.set, Turns())


async def test_a_ready_backend_is_not_checked_again_at_once(
    asked: Asked, declarer: Declarer
) -> None:
    assert await declarer.results(1, WANTED) == FINE
    assert await declarer.results(1, WANTED) == FINE
    assert asked.count == 1
    assert declarer.changes() == ("x",)
    assert declarer.changes() == ()


async def test_a_backend_that_is_not_ready_is_checked_in_every_pass(
    asked: Asked, declarer: Declarer
) -> None:
    asked.answer = BAD
    assert await declarer.results(1, WANTED) == BAD
    asked.answer = FINE
    assert await declarer.results(1, WANTED) == FINE


async def test_a_result_for_an_older_generation_is_discarded(
    asked: Asked, declarer: Declarer
) -> None:
    await declarer.results(1, WANTED)
    asked.may.clear()
    assert await declarer.results(2, WANTED) == {}
    await declarer.close()


async def test_a_slow_backend_does_not_block_and_wakes_the_worker_when_done(
    asked: Asked, declarer: Declarer, woken: asyncio.Event
) -> None:
    asked.may.clear()
    assert await declarer.results(1, WANTED) == {}
    asked.may.set()
    async with asyncio.timeout(5):
        await woken.wait()
    assert await declarer.results(1, WANTED) == FINE
    assert asked.count == 1


@pytest.mark.parametrize("jitter", [1 - JITTER, 1.0, 1 + JITTER])
@pytest.mark.parametrize("woken_at", [0.0, 5.0, 13.9, 14.1])
async def test_backends_are_checked_at_least_every_21_s(
    asked: Asked,
    declarer: Declarer,
    monkeypatch: pytest.MonkeyPatch,
    jitter: float,
    woken_at: float,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    await declarer.results(1, WANTED)
    assert declarer.due_seconds() == STALE_SECONDS
    now += woken_at  # a child changed: an unscheduled pass
    await declarer.results(1, WANTED)
    if asked.count == 1:
        now += declarer.due_seconds() * jitter
        await declarer.results(1, WANTED)
    assert asked.count == 2
    assert now - 1000.0 <= 21.0 + 1e-6


async def test_a_check_is_in_progress_until_its_result_is_read(
    asked: Asked, declarer: Declarer, woken: asyncio.Event
) -> None:
    asked.may.clear()
    await declarer.results(1, WANTED)
    assert declarer.asking
    asked.may.set()
    await asyncio.wait_for(woken.wait(), 5)
    assert await declarer.results(1, WANTED) == FINE
    assert not declarer.asking


async def test_a_failing_resource_does_not_delay_others(asked: Asked) -> None:
    turns = Turns(at_a_time=1)
    troubled, other = (Declarer(lambda: None, turns) for _ in range(2))
    asked.answer = BAD
    assert await troubled.results(1, WANTED) == BAD
    asked.may.clear()
    assert await troubled.results(1, WANTED) == BAD  # checked again, without a result yet
    asked.answer = FINE
    held, asked.may = asked.may, asyncio.Event()
    asked.may.set()
    assert await other.results(1, WANTED) == FINE
    assert not held.is_set()
    await troubled.close()


async def test_checks_are_limited_and_a_delayed_one_wakes_its_worker(asked: Asked) -> None:
    turns, woken = Turns(at_a_time=1), asyncio.Event()
    first, second = Declarer(lambda: None, turns), Declarer(woken.set, turns)
    asked.may.clear()
    assert await first.results(1, WANTED) == {}
    assert await second.results(1, WANTED) == {}
    assert asked.count == 1
    asked.may.set()
    await asyncio.wait_for(woken.wait(), 5)
    assert asked.count == 2
    assert await second.results(1, WANTED) == FINE


async def test_a_closed_declarer_releases_its_turn(asked: Asked) -> None:
    turns = Turns(at_a_time=1)
    first, second = (Declarer(lambda: None, turns) for _ in range(2))
    asked.may.clear()
    assert await first.results(1, WANTED) == {}
    await first.close()
    asked.may.set()
    assert await second.results(1, WANTED) == FINE


async def test_a_backend_becoming_ready_does_not_restart_checks_in_progress(
    asked: Asked, declarer: Declarer, woken: asyncio.Event
) -> None:
    asked.may.clear()
    assert await declarer.results(1, WANTED) == {}
    assert await declarer.results(1, BOTH) == {}
    asked.may.set()
    await asyncio.wait_for(woken.wait(), 5)
    assert await declarer.results(1, BOTH) == BOTH_FINE
    assert asked.count == len(BOTH.targets)


async def test_a_ready_backend_is_not_checked_again_when_another_becomes_ready(
    asked: Asked, declarer: Declarer
) -> None:
    assert await declarer.results(1, WANTED) == FINE
    assert await declarer.results(1, BOTH) == BOTH_FINE
    assert asked.count == len(BOTH.targets)


@pytest.mark.usefixtures("asked")
async def test_a_removed_backend_is_no_longer_reported(declarer: Declarer) -> None:
    assert await declarer.results(1, BOTH) == BOTH_FINE
    assert await declarer.results(1, WANTED) == FINE


async def test_ready_backends_are_checked_again_in_the_same_pass(
    asked: Asked, declarer: Declarer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    await declarer.results(1, WANTED)
    now += 8.0
    await declarer.results(1, BOTH)
    assert declarer.due_seconds() == STALE_SECONDS - 8.0
    now += declarer.due_seconds()
    await declarer.results(1, BOTH)
    assert asked.count == 4
    assert declarer.due_seconds() == STALE_SECONDS


async def test_an_unresponsive_backend_does_not_delay_checks_of_others(
    asked: Asked, declarer: Declarer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now)  # the event loop needs the real clock
    monkeypatch.setattr(declare, "time", clock)
    asked.silent = frozenset({Backend.CACHE})
    assert await declarer.results(1, BOTH) == FINE
    for passes in range(1, 4):
        assert declarer.asking
        assert declarer.due_seconds() == STALE_SECONDS
        now += STALE_SECONDS
        assert await declarer.results(1, BOTH) == FINE
        assert asked.count == 2 + passes
    await declarer.close()
    assert not declarer.asking
