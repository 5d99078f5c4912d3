"""Watches the objects that belong to AshChats and wakes the workers of their owners.

kopf reports changes of the AshChats themselves. Their children are watched here, because kopf
cannot restrict a watch to a label and would hold every object of the cluster in memory. The
watches ask for metadata only (PartialObjectMetadata), so that no Secret's data is received.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from aiohttp import ClientError

from ashchat_core.api.names import OPERATOR, Label
from ashchat_operator.kube.api import DISCOVERY_SECONDS, Api
from ashchat_operator.kube.apply import CHILD_KINDS, OPTIONAL_KINDS
from ashchat_operator.kube.errors import ApiServerError
from ashchat_operator.kube.workers import Workers, jittered

WATCH_SECONDS: Final = 240
"""How long a watch lasts until the API server ends it; a dead connection is detected by then."""

WATCH_GRACE_SECONDS: Final = 30.0

RETRY_SECONDS: Final = 1.0

GONE: Final = 410


_log = logging.getLogger(__name__)


class Watcher:
    """Watches the children of all AshChats and wakes their workers."""

    def __init__(
        self,
        api: Api,
        workers: Workers,
        namespaces: Sequence[str],
        referring: Callable[[str, str], Iterable[str]] = lambda _namespace, _secret: (),
    ) -> None:
        """Prepare the watches.

        Args:
            api: The API server.
            workers: The workers to wake.
            namespaces: The namespaces; empty: all.
            referring: Namespace and name of a Secret → the AshChats that refer to it.
        """
        self._api = api
        self._workers = workers
        self._namespaces: Sequence[str | None] = tuple(namespaces) or (None,)
        self._referring = referring
        self._alive: dict[tuple[str, str | None, str], float] = {}

    @property
    def dead(self) -> str:
        """What is wrong if a watch was neither opened nor received anything lately; else empty."""
        if self.staleness < WATCH_SECONDS + 2 * WATCH_GRACE_SECONDS:
            return ""
        return f"a watch has received nothing for {self.staleness:.0f} s"

    @property
    def staleness(self) -> float:
        """Seconds since the quietest watch received anything, a bookmark included."""
        return time.monotonic() - min(self._alive.values(), default=time.monotonic())

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._namespaces:
                watched = [(kind, Label.MANAGED_BY, OPERATOR) for kind in CHILD_KINDS]
                for kind, label, value in [*watched, ("Secret", Label.WATCH, "true")]:
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
                    version = self._received(event)
                self._alive[kind, namespace, label] = time.monotonic()
            except (ApiServerError, ClientError, OSError, TimeoutError, ValueError) as error:
                # Start over: the first events then name every object.
                version = ""
                _log.warning("the watch of %s ended: %s", kind, error)
                await asyncio.sleep(jittered(RETRY_SECONDS))

    def _received(self, event: dict[str, Any]) -> str:
        """Wake the owner of the object; return the version to continue from."""
        body = event["object"]
        if event["type"] == "ERROR":
            # 410: the history since `version` is not available any more.
            raise ApiServerError(body.get("code", GONE), body.get("message", "watch error"))
        metadata = body["metadata"]
        if event["type"] != "BOOKMARK":
            labels = metadata.get("labels", {})
            instance = labels.get(Label.INSTANCE)
            if Label.WATCH in labels:
                for name in self._referring(metadata["namespace"], metadata["name"]):
                    self._workers.wake(metadata["namespace"], name)
            if instance is not None:
                self._workers.wake(metadata["namespace"], instance)
            for owner in metadata.get("ownerReferences", []):
                # The label may be what was removed.
                self._workers.wake(metadata["namespace"], owner["name"])
        return str(metadata["resourceVersion"])
