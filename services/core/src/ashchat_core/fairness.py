"""Turns that go around: the accounts one after another, and the rooms of each account.

An account that asks for many turns waits for its own; every other one waits for at most one turn
of each account that waits, too (J. Nagle, RFC 970, with two levels). Where the number of waiting
callers is limited, the account with the most loses one (longest queue drop; B. Suter et al.,
INFOCOM 1998), so that one that floods the queue does not fill it for others.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


class QueueFullError(Exception):
    """Too many callers wait, and this caller's account has the most of them."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Whose turn it is.

    Attributes:
        account: The account, or whatever else takes turns with others.
        room: The room, or another part of the account whose parts take turns.
        rank: Lanes of a lower rank are served first.
    """

    account: str
    room: str
    rank: int = 0


_Turn = asyncio.Future[None]
_Rooms = OrderedDict[str, deque[_Turn]]


class FairTurns:
    """A semaphore whose waiting callers are served in turns instead of in order.

    Args:
        limit: Maximum callers that have a turn.
        waiting_max: Maximum waiting callers of each rank; None: unlimited.
    """

    def __init__(self, limit: int, *, waiting_max: int | None = None) -> None:
        self._free = limit
        self._waiting_max = waiting_max
        self._queues: dict[int, _Queue] = {}

    @asynccontextmanager
    async def turn(self, lane: Lane) -> AsyncIterator[None]:
        """Wait for a turn, and hold it as long as the context is open.

        Raises:
            QueueFullError: too many wait.
        """
        await self._acquire(lane)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, lane: Lane) -> None:
        if self._free > 0:
            self._free -= 1
            return
        queue = self._queues.setdefault(lane.rank, _Queue())
        if self._waiting_max is not None and len(queue) >= self._waiting_max:
            queue.make_room(lane)
        turn: _Turn = asyncio.get_running_loop().create_future()
        queue.push(lane, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.done() or turn.cancelled():
                queue.remove(lane, turn)
            elif turn.exception() is None:
                self._release()  # it was given, and is not wanted any more
            raise

    def _release(self) -> None:
        for rank in sorted(self._queues):
            queue = self._queues[rank]
            while queue:
                turn = queue.pop()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1


class _Queue:
    """Waiting callers of one rank."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, _Rooms] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def push(self, lane: Lane, turn: _Turn) -> None:
        rooms = self._accounts.setdefault(lane.account, OrderedDict())
        rooms.setdefault(lane.room, deque()).append(turn)
        self._counts[lane.account] += 1

    def pop(self) -> _Turn:
        """Remove and return the next caller; its account and room go to the end."""
        account, rooms = next(iter(self._accounts.items()))
        room, turns = next(iter(rooms.items()))
        turn = turns[0]
        self.remove(Lane(account, room), turn)
        if room in rooms:
            rooms.move_to_end(room)
        if account in self._accounts:
            self._accounts.move_to_end(account)
        return turn

    def remove(self, lane: Lane, turn: _Turn) -> None:
        """Remove a caller, if it still waits."""
        rooms = self._accounts.get(lane.account, OrderedDict())
        turns = rooms.get(lane.room, deque())
        if turn not in turns:
            return
        turns.remove(turn)
        self._counts[lane.account] -= 1
        if not turns:
            del rooms[lane.room]
        if not rooms:
            del self._accounts[lane.account]
            del self._counts[lane.account]

    def make_room(self, lane: Lane) -> None:
        """Refuse the newest caller of the account with the most callers.

        Raises:
            QueueFullError: this is the lane's own account.
        """
        account, most = self._counts.most_common(1)[0]
        if self._counts[lane.account] + 1 >= most:
            raise QueueFullError
        rooms = self._accounts[account]
        room = max(rooms, key=lambda name: len(rooms[name]))
        turn = rooms[room][-1]
        self.remove(Lane(account, room), turn)
        if not turn.done():
            turn.set_exception(QueueFullError())
