"""Watcher: changes of children and of referenced Secrets wake the workers of their AshChats."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ashchat_core.api.names import OPERATOR, Label
from ashchat_operator.kube import watcher as watcher_module
from ashchat_operator.kube import workers as workers_module
from ashchat_operator.kube.apply import CHILD_KINDS
from ashchat_operator.kube.watcher import WATCH_GRACE_SECONDS, WATCH_SECONDS, Watcher
from ashchat_operator.kube.workers import Workers
from recorded_passes import RecordedPasses


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "SETTLE_SECONDS", 0.001)
    monkeypatch.setattr(watcher_module, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(workers_module, "FAILED_SECONDS", 0.001)


class FakeApi:
    """Returns one list of events for each watch, then waits until cancelled."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events
        self.versions: list[str] = []

    async def serves(self, _: str) -> bool:
        return False

    async def watch(
        self, kind: str, _: object, labels: dict[str, str], *, version: str, **__: object
    ) -> AsyncIterator[dict[str, Any]]:
        if kind != CHILD_KINDS[0] or Label.MANAGED_BY not in labels:
            await asyncio.Event().wait()
        self.versions.append(version)
        if not self._events:
            await asyncio.Event().wait()
        events, self._events = self._events, []
        for event in events:
            yield event


class FakeSecrets(FakeApi):
    """Returns the events of the watch of user-provided Secrets."""

    async def watch(
        self, kind: str, _: object, labels: dict[str, str], *, version: str, **__: object
    ) -> AsyncIterator[dict[str, Any]]:
        if labels != {Label.WATCH: "true"}:
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
        (child("7", labels={Label.INSTANCE: "b"}), "7"),
        (child("8", labels={}, ownerReferences=[{"name": "b"}]), "8"),
    ],
)
async def test_a_childs_change_wakes_its_resource(event: dict[str, Any], version: str) -> None:
    passes = RecordedPasses()
    workers = Workers(passes, parallel=1)
    workers.track("a", "b")
    await passes.number(1)
    await asyncio.sleep(0.01)
    api = FakeApi([event])
    watcher = Watcher(api, workers, ())  # type: ignore[arg-type]
    running = asyncio.create_task(watcher.run())
    await passes.number(2)
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await workers.close()
    # The next watch continues from there.
    assert api.versions == ["", version]
    assert not watcher.dead


async def test_an_edited_user_provided_secret_wakes_the_resources_that_reference_it() -> None:
    passes = RecordedPasses()
    workers = Workers(passes, parallel=1)
    workers.track("a", "b")
    await passes.number(1)
    await asyncio.sleep(0.01)
    asked = []

    def referring(namespace: str, name: str) -> list[str]:
        asked.append((namespace, name))
        return ["b"]

    api = FakeSecrets([child("7", name="smtp", labels={Label.WATCH: "true"})])
    running = asyncio.create_task(Watcher(api, workers, (), referring).run())  # type: ignore[arg-type]
    await passes.number(2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await workers.close()
    assert asked == [("a", "smtp")]


async def test_an_expired_watch_starts_again() -> None:
    workers = Workers(RecordedPasses(), parallel=1)
    api = FakeApi([BOOKMARK, EXPIRED])
    watcher = Watcher(api, workers, ())  # type: ignore[arg-type]
    running = asyncio.create_task(watcher.run())
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert api.versions == ["", ""]


class Watches:
    """Serves every kind, records each watch, and returns only the events in `says`."""

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
        if kind != CHILD_KINDS[0] or Label.MANAGED_BY not in labels:
            await asyncio.Event().wait()
        while True:
            yield await self.says.get()
            self.says.task_done()


@asynccontextmanager
async def watching(api: Watches, *namespaces: str) -> AsyncIterator[Watcher]:
    """Run a watcher; on entry all its watches are open."""
    watcher = Watcher(api, Workers(RecordedPasses(), parallel=1), namespaces)  # type: ignore[arg-type]
    running = asyncio.create_task(watcher.run())
    try:
        async with asyncio.timeout(5):
            await api.all_open.wait()
        yield watcher
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("namespace", [None, "one"])
async def test_only_our_labelled_objects_and_opted_in_secrets_are_watched(
    namespace: str | None,
) -> None:
    api = Watches()
    async with watching(api, *([namespace] if namespace else [])):
        pass
    ours = [(kind, namespace, {Label.MANAGED_BY: OPERATOR}) for kind in CHILD_KINDS]
    assert api.opened == [*ours, ("Secret", namespace, {Label.WATCH: "true"})]


async def test_a_silent_watch_counts_as_dead_until_it_receives_an_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(watcher_module, "time", SimpleNamespace(monotonic=lambda: now))
    api = Watches()
    async with watching(api) as watcher:

        def dead() -> str:
            return watcher.dead

        silent_for = WATCH_SECONDS + 2 * WATCH_GRACE_SECONDS
        now = silent_for - 1
        assert not dead()
        now = silent_for
        assert dead() == f"a watch has received nothing for {silent_for:.0f} s"
        for key in watcher._alive:
            if key != (CHILD_KINDS[0], None, Label.MANAGED_BY):
                watcher._alive[key] = now
        assert dead(), "the quietest one counts"
        api.says.put_nowait(BOOKMARK)
        await asyncio.wait_for(api.says.join(), 5)
        assert not dead()
