"""One worker task per AshChat, which reconciles it when it is woken and at intervals."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from ashchat_operator.resource.types import ResourceKey

Reconcile = Callable[[str, str], Awaitable[float]]
"""Reconciles a resource (namespace, name); returns the seconds until the next pass."""

SETTLE_SECONDS: Final = 0.1
"""Changes rarely come alone: those within this time are handled by the same pass."""

JITTER: Final = 0.2
"""The fraction by which a resync comes earlier or later, so that not all coincide."""

FAILED_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class Workers:
    """One task per AshChat, which reconciles it when it is woken and at intervals.

    No resource is reconciled a second time before every resource was reconciled once: the objects
    of a hundred new AshChats are all created before the first is followed to Ready.
    """

    def __init__(self, reconcile: Reconcile, *, parallel: int) -> None:
        self._reconcile = reconcile
        self._slots = asyncio.Semaphore(parallel)
        self._wakes: dict[ResourceKey, asyncio.Event] = {}
        self._tasks: dict[ResourceKey, asyncio.Task[None]] = {}
        self._unseen: set[ResourceKey] = set()
        self._all_seen = asyncio.Event()
        self._all_seen.set()

    def track(self, namespace: str, name: str) -> None:
        """Reconcile a resource from now on, beginning immediately."""
        key = (namespace, name)
        if key not in self._tasks:
            self._wakes[key] = asyncio.Event()
            self._unseen.add(key)
            self._all_seen.clear()
            self._tasks[key] = asyncio.create_task(
                self._work(key), name=f"reconcile {namespace}/{name}"
            )
        self._wakes[key].set()

    def wake(self, namespace: str, name: str) -> None:
        """Reconcile a tracked resource soon; do nothing if it is not tracked."""
        wake = self._wakes.get((namespace, name))
        if wake is not None:
            wake.set()

    def forget(self, namespace: str, name: str) -> None:
        """Stop reconciling a resource that was deleted."""
        self._wakes.pop((namespace, name), None)
        self._seen((namespace, name))
        task = self._tasks.pop((namespace, name), None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop all workers."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        self._tasks.clear()
        self._wakes.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, key: ResourceKey) -> None:
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

    def _seen(self, key: ResourceKey) -> None:
        self._unseen.discard(key)
        if not self._unseen:
            self._all_seen.set()

    async def _once(self, key: ResourceKey) -> float:
        try:
            return await self._reconcile(*key)
        except Exception:  # noqa: BLE001 (logged with its traceback; nothing may end the worker)
            # Whatever it was, the next pass starts from the current state.
            _log.exception("the reconcile pass of %s/%s failed", *key)
            return FAILED_SECONDS


def jittered(seconds: float) -> float:
    """Return a time up to JITTER earlier or later."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (not for secrets)
