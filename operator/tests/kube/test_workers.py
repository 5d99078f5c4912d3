"""Workers: reconcile at once when woken, one pass at a time, and continue after a failure."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ashchat_operator.kube import workers as workers_module
from ashchat_operator.kube.workers import Workers, jittered
from recorded_passes import RecordedPasses


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "SETTLE_SECONDS", 0.001)
    monkeypatch.setattr(workers_module, "FAILED_SECONDS", 0.001)


async def test_a_tracked_resource_is_reconciled_at_once_and_when_woken() -> None:
    passes = RecordedPasses()
    workers = Workers(passes, parallel=1)
    workers.track("a", "b")
    await passes.number(1)
    await asyncio.sleep(0.01)
    workers.wake("a", "b")
    await passes.number(2)
    await workers.close()
    assert passes.seen == ["a/b", "a/b"]


async def test_simultaneous_wakes_result_in_one_pass() -> None:
    passes = RecordedPasses()
    workers = Workers(passes, parallel=1)
    workers.track("a", "b")
    for _ in range(20):
        workers.wake("a", "b")
    await passes.number(1)
    await asyncio.sleep(0.02)
    await workers.close()
    assert len(passes.seen) == 1


async def test_an_untracked_resource_is_not_reconciled() -> None:
    passes = RecordedPasses()
    workers = Workers(passes, parallel=1)
    workers.wake("a", "b")
    workers.track("a", "c")
    await passes.number(1)
    workers.forget("a", "c")
    workers.wake("a", "c")
    await asyncio.sleep(0.01)
    await workers.close()
    assert passes.seen == ["a/c"]


async def test_a_resource_is_reconciled_periodically() -> None:
    passes = RecordedPasses(again=0.001)
    workers = Workers(passes, parallel=1)
    workers.track("a", "b")
    await passes.number(3)
    await workers.close()


async def test_a_failed_pass_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    passes = RecordedPasses()
    passes.failures = 2
    workers = Workers(passes, parallel=1)
    workers.track("a", "b")
    await passes.number(3)
    await workers.close()
    assert "the reconcile pass of a/b failed" in caplog.text


class Held:
    """Passes that each last until the test releases them."""

    def __init__(self) -> None:
        self.begun = 0
        self.now: list[str] = []
        self.most = 0
        self._may = asyncio.Semaphore(0)
        self._changed = asyncio.Condition()

    async def __call__(self, namespace: str, name: str) -> float:
        self.begun += 1
        self.now.append(f"{namespace}/{name}")
        self.most = max(self.most, len(self.now))
        await self._tell()
        try:
            await self._may.acquire()
        finally:
            self.now.remove(f"{namespace}/{name}")
        await self._tell()
        return 60.0

    def let_go(self, number: int) -> None:
        for _ in range(number):
            self._may.release()

    async def until(self, there: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(there)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def working(
    reconcile: Callable[[str, str], Awaitable[float]], n: int
) -> AsyncIterator[Workers]:
    workers = Workers(reconcile, parallel=n)
    try:
        yield workers
    finally:
        await workers.close()


async def settle() -> None:
    """Wait long enough for an unexpected reconcile pass to start."""
    await asyncio.sleep(20 * workers_module.SETTLE_SECONDS)


async def test_a_wake_during_a_pass_results_in_one_more_pass_afterwards() -> None:
    passes = Held()
    async with working(passes, 5) as workers:
        workers.track("a", "b")
        await passes.until(lambda: passes.begun == 1)
        for _ in range(10):
            workers.wake("a", "b")
            workers.track("a", "b")
        await settle()
        assert passes.now == ["a/b"]
        passes.let_go(1)
        await passes.until(lambda: passes.begun == 2)
        passes.let_go(1)
        await passes.until(lambda: not passes.now)
        await settle()
    assert passes.begun == 2
    assert passes.most == 1


async def test_concurrent_passes_are_limited_and_every_resource_gets_its_turn() -> None:
    passes = Held()
    async with working(passes, 2) as workers:
        for number in range(10):
            workers.track("a", f"chat-{number}")
        await passes.until(lambda: len(passes.now) == 2)
        await settle()
        passes.let_go(10)
        await passes.until(lambda: passes.begun == 10 and not passes.now)
    assert passes.most == 2


async def test_no_resource_is_reconciled_twice_before_each_was_reconciled_once() -> None:
    passes = Held()
    async with working(passes, 2) as workers:
        for number in range(4):
            workers.track("a", f"chat-{number}")
        await passes.until(lambda: len(passes.now) == 2)
        passes.let_go(1)
        await passes.until(lambda: passes.begun == 3)
        (again,) = {"a/chat-0", "a/chat-1"} - set(passes.now)
        workers.wake(*again.split("/"))
        await settle()
        passes.let_go(1)
        await passes.until(lambda: passes.begun == 4)
        assert set(passes.now) == {"a/chat-2", "a/chat-3"}
        passes.let_go(2)
        await passes.until(lambda: passes.begun == 5)
        assert passes.now == [again]


async def test_a_resource_forgotten_before_its_first_pass_delays_no_other() -> None:
    passes = Held()
    async with working(passes, 1) as workers:
        workers.track("a", "first")
        await passes.until(lambda: passes.now == ["a/first"])
        workers.track("a", "never")
        workers.wake("a", "first")
        passes_again = passes.begun + 1
        await settle()
        workers.forget("a", "never")
        passes.let_go(1)
        await passes.until(lambda: passes.begun == passes_again and passes.now == ["a/first"])


async def test_a_forgotten_resource_leaves_nothing_behind_and_its_pass_is_cancelled() -> None:
    passes = Held()
    async with working(passes, 2) as workers:
        workers.track("a", "b")
        await passes.until(lambda: passes.begun == 1)
        (task,) = workers._tasks.values()
        workers.forget("a", "b")
        await asyncio.wait((task,), timeout=5)
        assert task.cancelled()
        assert not passes.now
        assert not workers._wakes
        assert not workers._tasks
        assert not workers._unseen


def test_resync_intervals_are_jittered() -> None:
    times = [jittered(10) for _ in range(100)]
    assert all(8 <= time <= 12 for time in times)
    assert len(set(times)) > 90
