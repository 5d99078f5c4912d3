"""Merges concurrent calls with the same key into one (within the pod)."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class _Flight(Generic[ValueT]):
    task: asyncio.Task[ValueT]
    waiting: int = 0


class SingleFlight(Generic[ValueT]):
    """Joins concurrent calls with the same key."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[ValueT]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def run(
        self, key: Hashable, call: Callable[[], Coroutine[Any, Any, ValueT]]
    ) -> tuple[ValueT, bool]:
        """Return the result of the call for a key, and whether it was already in progress.

        All waiting callers get the same value or exception. Cancelling one of them does not
        affect the others; when the last one is cancelled, the call is cancelled, too.
        """
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = _Flight(asyncio.create_task(call()))
            self._flights[key] = flight
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task), joined
        finally:
            flight.waiting -= 1
            if flight.waiting == 0:
                flight.task.cancel()
            if (flight.waiting == 0 or flight.task.done()) and self._flights.get(key) is flight:
                del self._flights[key]
