"""When to look at which AshChat: at a change of it, at a change of a child, and now and then.

kopf tells of the resources. The children are watched here, since kopf cannot ask the API
server for a label and would keep every object of the cluster in view. The watches ask for
metadata only (PartialObjectMetadata), so no Secret's data ever comes this way.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from aiohttp import ClientError

from ashchat_operator.api import DISCOVERY_SECONDS, Api, RefusedByApiServer
from ashchat_operator.apply import CHILD_KINDS, OPTIONAL_KINDS
from ashchat_operator.render.common import INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER

WATCH_LABEL: Final = "ashchat.dev/watch"
"""A person's Secret with this label ("true") is seen at once when it is edited; others at the
next resync."""

Look = Callable[[str, str], Awaitable[float]]
"""Looks at a resource (namespace, name); returns the seconds until the next look."""

SETTLE_SECONDS: Final = 0.1
"""A change seldom comes alone: what follows within this time is seen in the same look."""

JITTER: Final = 0.2
"""A resync comes up to this part earlier or later, so that not all come at once."""

FAILED_SECONDS: Final = 5.0
WATCH_SECONDS: Final = 240
"""The API server ends a watch after this long; a dead connection is noticed by then."""

WATCH_GRACE_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 1.0
GONE: Final = 410

_log = logging.getLogger(__name__)


class Keepers:
    """One task per AshChat that looks at it when it is woken or when it is time.

    Nobody is looked at twice before everybody was looked at once: a hundred new AshChats are
    first all written, and only then followed on their way.
    """

    def __init__(self, look: Look, *, parallel: int) -> None:
        self._look = look
        self._slots = asyncio.Semaphore(parallel)
        self._wakes: dict[tuple[str, str], asyncio.Event] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._unseen: set[tuple[str, str]] = set()
        self._all_seen = asyncio.Event()
        self._all_seen.set()

    def keep(self, namespace: str, name: str) -> None:
        """Look at a resource from now on, and at once."""
        key = (namespace, name)
        if key not in self._tasks:
            self._wakes[key] = asyncio.Event()
            self._unseen.add(key)
            self._all_seen.clear()
            self._tasks[key] = asyncio.create_task(self._keep(key), name=f"keep {namespace}/{name}")
        self._wakes[key].set()

    def wake(self, namespace: str, name: str) -> None:
        """Look soon at a resource that is kept; nothing happens if it is not."""
        wake = self._wakes.get((namespace, name))
        if wake is not None:
            wake.set()

    def forget(self, namespace: str, name: str) -> None:
        """Stop looking at a resource: it is gone."""
        self._wakes.pop((namespace, name), None)
        self._seen((namespace, name))
        task = self._tasks.pop((namespace, name), None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop all looking."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        self._tasks.clear()
        self._wakes.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, key: tuple[str, str]) -> None:
        wake = self._wakes[key]
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            if key not in self._unseen:
                await self._all_seen.wait()
            wake.clear()
            async with self._slots:
                again = await self._once(key)
            self._seen(key)
            with suppress(TimeoutError):
                async with asyncio.timeout(jittered(again)):
                    await wake.wait()

    def _seen(self, key: tuple[str, str]) -> None:
        self._unseen.discard(key)
        if not self._unseen:
            self._all_seen.set()

    async def _once(self, key: tuple[str, str]) -> float:
        try:
            return await self._look(*key)
        except Exception:  # noqa: BLE001 (logged with its trace; nothing may end the keeping)
            # Whatever it was, the next look starts from what is then.
            _log.exception("the look at %s/%s failed", *key)
            return FAILED_SECONDS


def jittered(seconds: float) -> float:
    """Return a time up to JITTER earlier or later."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (not for secrets)


class Watcher:
    """Watches the children of all AshChats and wakes their keepers."""

    def __init__(
        self,
        api: Api,
        keepers: Keepers,
        namespaces: Sequence[str],
        referring: Callable[[str, str], Iterable[str]] = lambda _namespace, _secret: (),
    ) -> None:
        """Watch.

        Args:
            api: The API server.
            keepers: Whom to wake.
            namespaces: Where; empty: everywhere.
            referring: Namespace, name of a Secret → the AshChats that refer to it.
        """
        self._api = api
        self._keepers = keepers
        self._namespaces: Sequence[str | None] = tuple(namespaces) or (None,)
        self._referring = referring
        self._alive: dict[tuple[str, str | None, str], float] = {}

    @property
    def dead(self) -> str:
        """What is wrong when a watch was neither opened nor heard from lately; empty: nothing."""
        if self.staleness < WATCH_SECONDS + 2 * WATCH_GRACE_SECONDS:
            return ""
        return f"a watch has said nothing for {self.staleness:.0f} s"

    @property
    def staleness(self) -> float:
        """For how many seconds the quietest watch has said nothing, not even a bookmark."""
        return time.monotonic() - min(self._alive.values(), default=time.monotonic())

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._namespaces:
                watched = [(kind, MANAGED_BY_LABEL, MANAGER) for kind in CHILD_KINDS]
                for kind, label, value in [*watched, ("Secret", WATCH_LABEL, "true")]:
                    self._alive[kind, namespace, label] = time.monotonic()
                    work = self._watch(kind, namespace, label, value)
                    group.create_task(work, name=f"watch {kind} {label}")

    async def _watch(self, kind: str, namespace: str | None, label: str, value: str) -> None:
        version = ""
        while True:
            try:
                if kind in OPTIONAL_KINDS and not await self._api.serves(kind):
                    self._alive[kind, namespace, label] = time.monotonic()
                    await asyncio.sleep(jittered(DISCOVERY_SECONDS))
                    continue
                async for event in self._api.watch(
                    kind,
                    namespace,
                    {label: value},
                    version=version,
                    seconds=WATCH_SECONDS,
                    grace_seconds=WATCH_GRACE_SECONDS,
                ):
                    self._alive[kind, namespace, label] = time.monotonic()
                    version = self._heard(event)
                self._alive[kind, namespace, label] = time.monotonic()
            except (RefusedByApiServer, ClientError, OSError, TimeoutError, ValueError) as error:
                # From scratch: the first events then name every object there is.
                version = ""
                _log.warning("the watch of %s ended: %s", kind, error)
                await asyncio.sleep(jittered(RETRY_SECONDS))

    def _heard(self, event: dict[str, Any]) -> str:
        """Wake whose child it was; return from where to go on."""
        body = event["object"]
        if event["type"] == "ERROR":
            # 410: what happened since `version` is not known any more.
            raise RefusedByApiServer(body.get("code", GONE), body.get("message", "watch error"))
        metadata = body["metadata"]
        if event["type"] != "BOOKMARK":
            labels = metadata.get("labels", {})
            instance = labels.get(INSTANCE_LABEL)
            if WATCH_LABEL in labels:
                for name in self._referring(metadata["namespace"], metadata["name"]):
                    self._keepers.wake(metadata["namespace"], name)
            if instance is not None:
                self._keepers.wake(metadata["namespace"], instance)
            for owner in metadata.get("ownerReferences", []):
                # The label may be what was taken off.
                self._keepers.wake(metadata["namespace"], owner["name"])
        return str(metadata["resourceVersion"])
