"""Group commit: what waits while a write is under way goes out together in the next one.

A lone item is written at once, so an idle service has the latency of a single write. Under load a
batch grows to what arrived during the previous write, without a timer to tune. No I/O library is
imported here.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")

Write = Callable[[Sequence[Item]], Awaitable[Sequence[Exception | None]]]
"""Writes a batch; returns each item's error in the same order, None for a written one."""


class TooManyWaitingError(Exception):
    """The writes are too slow for what is put: nothing was done with the item."""


class Batches(Generic[Item]):
    """Writes items in batches, by a bounded number of concurrent writers.

    Args:
        write: Writes one batch. An exception that it raises is every item's error.
        largest: Maximum items in a batch.
        writers: Maximum concurrent batches.
        waiting: Maximum items that wait for a writer.
    """

    def __init__(
        self,
        write: Write[Item],
        *,
        largest: int,
        writers: int,
        waiting: int,
    ) -> None:
        self._write = write
        self._largest = largest
        self._writers = writers
        self._waiting_max = waiting
        self._waiting: deque[tuple[Item, asyncio.Future[None]]] = deque()
        self._writing = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, item: Item) -> None:
        """Return when the item is written.

        A cancelled caller does not take its item back: it is written anyway.

        Raises:
            TooManyWaitingError: too many items wait; this one is not written.
            Exception: what `write` returned for the item, or raised for its batch.
        """
        if len(self._waiting) >= self._waiting_max:
            raise TooManyWaitingError
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if self._writing < self._writers:
            self._writing += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await written

    async def _run(self) -> None:
        try:
            while self._waiting:
                count = min(self._largest, len(self._waiting))
                await self._write_one([self._waiting.popleft() for _ in range(count)])
        finally:
            # Here, and not in a callback: a caller that was just answered may put the next item.
            self._writing -= 1

    async def _write_one(self, batch: Sequence[tuple[Item, asyncio.Future[None]]]) -> None:
        try:
            outcomes = list(await self._write([item for item, _ in batch]))
        except Exception as error:  # noqa: BLE001 (every caller gets it)
            outcomes = [error for _ in batch]
        for (_, written), outcome in zip(batch, outcomes, strict=True):
            if written.done():
                continue
            if outcome is None:
                written.set_result(None)
            else:
                written.set_exception(outcome)
