"""Turns that go around: the accounts one after another, and the rooms of each account.

An account that asks for many turns waits for its own; every other one waits for at most one turn
of each account that waits, too (J. Nagle, RFC 970, with two levels).
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lane:
    """Whose turn it is: an account, in a room."""

    account: str
    room: str


_Rooms = OrderedDict[str, deque[asyncio.Future[None]]]


class FairTurns:
    """A semaphore whose waiting callers are served in turns instead of in order."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: OrderedDict[str, _Rooms] = OrderedDict()

    @asynccontextmanager
    async def turn(self, lane: Lane) -> AsyncIterator[None]:
        """Wait for a turn, and hold it as long as the context is open."""
        await self._acquire(lane)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, lane: Lane) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        rooms = self._waiting.setdefault(lane.account, OrderedDict())
        rooms.setdefault(lane.room, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # it was given, and is not wanted any more
            raise

    def _release(self) -> None:
        while (turn := self._next()) is not None:
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _next(self) -> asyncio.Future[None] | None:
        """Take the next waiting caller; its account and room go to the end of their queues."""
        if not self._waiting:
            return None
        account, rooms = self._waiting.popitem(last=False)
        room, turns = rooms.popitem(last=False)
        turn = turns.popleft()
        if turns:
            rooms[room] = turns
        if rooms:
            self._waiting[account] = rooms
        return turn
