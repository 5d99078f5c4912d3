"""One call for everybody who asks for the same thing at the same time (within the pod)."""

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
        """Return what the call for this key gives, and whether it had begun already.

        Everyone who waits gets the same value or the same exception. One who is cancelled
        leaves the others alone; with the last of them the call is cancelled too.
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
