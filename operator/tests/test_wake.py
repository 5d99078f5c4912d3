"""Looks happen at once when woken, not twice at a time, and go on after a failure."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ashchat_operator import wake
from ashchat_operator.api import RefusedByApiServer
from ashchat_operator.apply import CHILD_KINDS
from ashchat_operator.render.common import INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER
from ashchat_operator.wake import (
    WATCH_GRACE_SECONDS,
    WATCH_LABEL,
    WATCH_SECONDS,
    Keepers,
    Watcher,
    jittered,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "SETTLE_SECONDS", 0.001)
    monkeypatch.setattr(wake, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(wake, "FAILED_SECONDS", 0.001)


class Looks:
    """Counts looks; `again` is what they answer."""

    def __init__(self, again: float = 60.0) -> None:
        self.again = again
        self.seen: list[str] = []
        self.failures = 0
        self._changed = asyncio.Condition()

    async def __call__(self, namespace: str, name: str) -> float:
        async with self._changed:
            self.seen.append(f"{namespace}/{name}")
            self._changed.notify_all()
        if self.failures:
            self.failures -= 1
            raise RefusedByApiServer(500, "try again")
        return self.again

    async def number(self, wanted: int) -> None:
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: len(self.seen) >= wanted)


async def test_a_kept_resource_is_looked_at_at_once_and_when_woken() -> None:
    looks = Looks()
    keepers = Keepers(looks, parallel=1)
    keepers.keep("a", "b")
    await looks.number(1)
    await asyncio.sleep(0.01)
    keepers.wake("a", "b")
    await looks.number(2)
    await keepers.close()
    assert looks.seen == ["a/b", "a/b"]


async def test_wakes_that_come_together_are_one_look() -> None:
    looks = Looks()
    keepers = Keepers(looks, parallel=1)
    keepers.keep("a", "b")
    for _ in range(20):
        keepers.wake("a", "b")
    await looks.number(1)
    await asyncio.sleep(0.02)
    await keepers.close()
    assert len(looks.seen) == 1


async def test_nothing_happens_to_what_is_not_kept() -> None:
    looks = Looks()
    keepers = Keepers(looks, parallel=1)
    keepers.wake("a", "b")
    keepers.keep("a", "c")
    await looks.number(1)
    keepers.forget("a", "c")
    keepers.wake("a", "c")
    await asyncio.sleep(0.01)
    await keepers.close()
    assert looks.seen == ["a/c"]


async def test_it_looks_again_by_itself() -> None:
    looks = Looks(again=0.001)
    keepers = Keepers(looks, parallel=1)
    keepers.keep("a", "b")
    await looks.number(3)
    await keepers.close()


async def test_a_failed_look_is_followed_by_another(caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks()
    looks.failures = 2
    keepers = Keepers(looks, parallel=1)
    keepers.keep("a", "b")
    await looks.number(3)
    await keepers.close()
    assert "the look at a/b failed" in caplog.text


class Held:
    """Looks that last until they are let go, one after the other."""

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
async def keeping(look: Callable[[str, str], Awaitable[float]], n: int) -> AsyncIterator[Keepers]:
    keepers = Keepers(look, parallel=n)
    try:
        yield keepers
    finally:
        await keepers.close()


async def settle() -> None:
    """Give a look that should not come the time in which it would."""
    await asyncio.sleep(20 * wake.SETTLE_SECONDS)


async def test_a_resource_is_not_looked_at_twice_at_a_time_and_once_more_when_woken() -> None:
    looks = Held()
    async with keeping(looks, 5) as keepers:
        keepers.keep("a", "b")
        await looks.until(lambda: looks.begun == 1)
        for _ in range(10):
            keepers.wake("a", "b")
            keepers.keep("a", "b")
        await settle()
        assert looks.now == ["a/b"]
        looks.let_go(1)
        await looks.until(lambda: looks.begun == 2)
        looks.let_go(1)
        await looks.until(lambda: not looks.now)
        await settle()
    assert looks.begun == 2
    assert looks.most == 1


async def test_no_more_than_so_many_are_looked_at_at_a_time_and_all_get_their_turn() -> None:
    looks = Held()
    async with keeping(looks, 2) as keepers:
        for number in range(10):
            keepers.keep("a", f"chat-{number}")
        await looks.until(lambda: len(looks.now) == 2)
        await settle()
        looks.let_go(10)
        await looks.until(lambda: looks.begun == 10 and not looks.now)
    assert looks.most == 2


async def test_nobody_is_looked_at_twice_before_all_were_looked_at_once() -> None:
    looks = Held()
    async with keeping(looks, 2) as keepers:
        for number in range(4):
            keepers.keep("a", f"chat-{number}")
        await looks.until(lambda: len(looks.now) == 2)
        looks.let_go(1)
        await looks.until(lambda: looks.begun == 3)
        (again,) = {"a/chat-0", "a/chat-1"} - set(looks.now)
        keepers.wake(*again.split("/"))
        await settle()
        looks.let_go(1)
        await looks.until(lambda: looks.begun == 4)
        assert set(looks.now) == {"a/chat-2", "a/chat-3"}
        looks.let_go(2)
        await looks.until(lambda: looks.begun == 5)
        assert looks.now == [again]


async def test_who_is_forgotten_before_its_first_look_holds_up_nobody() -> None:
    looks = Held()
    async with keeping(looks, 1) as keepers:
        keepers.keep("a", "first")
        await looks.until(lambda: looks.now == ["a/first"])
        keepers.keep("a", "never")
        keepers.wake("a", "first")
        looks_again = looks.begun + 1
        await settle()
        keepers.forget("a", "never")
        looks.let_go(1)
        await looks.until(lambda: looks.begun == looks_again and looks.now == ["a/first"])


async def test_of_what_is_forgotten_nothing_is_left_and_its_look_ends() -> None:
    looks = Held()
    async with keeping(looks, 2) as keepers:
        keepers.keep("a", "b")
        await looks.until(lambda: looks.begun == 1)
        (task,) = keepers._tasks.values()
        keepers.forget("a", "b")
        await asyncio.wait((task,), timeout=5)
        assert task.cancelled()
        assert not looks.now
        assert not keepers._wakes
        assert not keepers._tasks
        assert not keepers._unseen


def test_a_resync_is_spread() -> None:
    times = [jittered(10) for _ in range(100)]
    assert all(8 <= time <= 12 for time in times)
    assert len(set(times)) > 90


class FakeApi:
    """Gives each watch one list of events, then nothing until cancelled."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events
        self.versions: list[str] = []

    async def serves(self, _: str) -> bool:
        return False

    async def watch(
        self, kind: str, _: object, labels: dict[str, str], *, version: str, **__: object
    ) -> AsyncIterator[dict[str, Any]]:
        if kind != CHILD_KINDS[0] or MANAGED_BY_LABEL not in labels:
            await asyncio.Event().wait()
        self.versions.append(version)
        if not self._events:
            await asyncio.Event().wait()
        events, self._events = self._events, []
        for event in events:
            yield event


class FakeSecrets(FakeApi):
    """Gives the watch of people's Secrets its events."""

    async def watch(
        self, kind: str, _: object, labels: dict[str, str], *, version: str, **__: object
    ) -> AsyncIterator[dict[str, Any]]:
        if labels != {WATCH_LABEL: "true"}:
            await asyncio.Event().wait()
        assert kind == "Secret"
        self.versions.append(version)
        events, self._events = self._events, []
        for event in events:
            yield event
        await asyncio.Event().wait()


def child(version: str, **metadata: Any) -> dict[str, Any]:
    body = {"metadata": {"namespace": "a", "resourceVersion": version, **metadata}}
    return {"type": "MODIFIED", "object": body}


BOOKMARK = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
EXPIRED = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}


@pytest.mark.parametrize(
    ("event", "version"),
    [
        (child("7", labels={INSTANCE_LABEL: "b"}), "7"),
        (child("8", labels={}, ownerReferences=[{"name": "b"}]), "8"),
    ],
)
async def test_a_childs_change_wakes_its_resource(event: dict[str, Any], version: str) -> None:
    looks = Looks()
    keepers = Keepers(looks, parallel=1)
    keepers.keep("a", "b")
    await looks.number(1)
    await asyncio.sleep(0.01)
    api = FakeApi([event])
    watcher = Watcher(api, keepers, ())  # type: ignore[arg-type]
    running = asyncio.create_task(watcher.run())
    await looks.number(2)
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await keepers.close()
    # The next watch goes on from there.
    assert api.versions == ["", version]
    assert not watcher.dead


async def test_an_edited_secret_of_a_person_wakes_those_that_refer_to_it() -> None:
    looks = Looks()
    keepers = Keepers(looks, parallel=1)
    keepers.keep("a", "b")
    await looks.number(1)
    await asyncio.sleep(0.01)
    asked = []

    def referring(namespace: str, name: str) -> list[str]:
        asked.append((namespace, name))
        return ["b"]

    api = FakeSecrets([child("7", name="smtp", labels={WATCH_LABEL: "true"})])
    running = asyncio.create_task(Watcher(api, keepers, (), referring).run())  # type: ignore[arg-type]
    await looks.number(2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await keepers.close()
    assert asked == [("a", "smtp")]


async def test_a_watch_that_fell_behind_begins_anew() -> None:
    keepers = Keepers(Looks(), parallel=1)
    api = FakeApi([BOOKMARK, EXPIRED])
    watcher = Watcher(api, keepers, ())  # type: ignore[arg-type]
    running = asyncio.create_task(watcher.run())
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert api.versions == ["", ""]


class Watches:
    """Every kind is served; each watch is noted and says nothing but what is told."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str | None, dict[str, str]]] = []
        self.all_open = asyncio.Event()
        self.says: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def serves(self, _: str) -> bool:
        return True

    async def watch(
        self, kind: str, namespace: str | None, labels: dict[str, str], **_: object
    ) -> AsyncIterator[dict[str, Any]]:
        self.opened.append((kind, namespace, labels))
        if len(self.opened) == len(CHILD_KINDS) + 1:
            self.all_open.set()
        if kind != CHILD_KINDS[0] or MANAGED_BY_LABEL not in labels:
            await asyncio.Event().wait()
        while True:
            yield await self.says.get()
            self.says.task_done()


@asynccontextmanager
async def watching(api: Watches, *namespaces: str) -> AsyncIterator[Watcher]:
    """Watch; all watches are open."""
    watcher = Watcher(api, Keepers(Looks(), parallel=1), namespaces)  # type: ignore[arg-type]
    running = asyncio.create_task(watcher.run())
    try:
        async with asyncio.timeout(5):
            await api.all_open.wait()
        yield watcher
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("namespace", [None, "one"])
async def test_what_is_watched_is_ours_by_its_label_and_secrets_that_ask_for_it(
    namespace: str | None,
) -> None:
    api = Watches()
    async with watching(api, *([namespace] if namespace else [])):
        pass
    ours = [(kind, namespace, {MANAGED_BY_LABEL: MANAGER}) for kind in CHILD_KINDS]
    assert api.opened == [*ours, ("Secret", namespace, {WATCH_LABEL: "true"})]


async def test_a_watch_that_stays_silent_counts_as_dead_until_it_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(wake, "time", SimpleNamespace(monotonic=lambda: now))
    api = Watches()
    async with watching(api) as watcher:

        def dead() -> str:
            return watcher.dead

        silent_for = WATCH_SECONDS + 2 * WATCH_GRACE_SECONDS
        now = silent_for - 1
        assert not dead()
        now = silent_for
        assert dead() == f"a watch has said nothing for {silent_for:.0f} s"
        for key in watcher._alive:
            if key != (CHILD_KINDS[0], None, MANAGED_BY_LABEL):
                watcher._alive[key] = now
        assert dead(), "the quietest one counts"
        api.says.put_nowait(BOOKMARK)
        await asyncio.wait_for(api.says.join(), 5)
        assert not dead()
