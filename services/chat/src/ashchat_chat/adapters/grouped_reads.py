"""Grouped reads: keys that are asked for during a read are read together in the next one.

So thousands of clients that come back at once cost a few queries. Nothing is remembered: each
caller gets what the store has after the call. No I/O library is imported here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class GroupedReads(Generic[Key, Value]):
    """Reads the values of keys in groups, one group at a time.

    Args:
        read: Returns the values that exist. An exception that it raises is every caller's error.
        largest: Maximum keys in a group.
    """

    def __init__(
        self, read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]], *, largest: int
    ) -> None:
        self._read = read
        self._largest = largest
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}
        self._reading = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: Key) -> Value | None:
        """Return the value of a key; None: it does not exist.

        Raises:
            Exception: what `read` raised.
        """
        found = self._waiting.get(key)
        if found is None:
            found = self._waiting[key] = asyncio.get_running_loop().create_future()
        if not self._reading:
            self._reading = True
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # One caller's cancellation is not the others'.
        return await asyncio.shield(found)

    async def _run(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[: self._largest]
                # A caller from now on may have written first, so it gets a later read.
                await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._reading = False

    async def _answer(self, group: Mapping[Key, asyncio.Future[Value | None]]) -> None:
        try:
            values = await self._read(list(group))
        except Exception as error:  # noqa: BLE001 (every caller gets it)
            for found in group.values():
                found.set_exception(error)
                found.exception()  # its callers may be gone
            return
        for key, found in group.items():
            found.set_result(values.get(key))
