"""Putting events into order: what the fan-out lost, doubled or swapped is found by `rev`."""

from typing import Generic, Protocol, TypeVar

HELD_MAX = 1_000
"""How many events wait for an earlier one; beyond that the store has them anyway."""


class HasRev(Protocol):
    """Something with a place in a room's order."""

    @property
    def rev(self) -> int:
        """The place, from 1."""
        ...


E = TypeVar("E", bound=HasRev)


class Sequencer(Generic[E]):
    """Gives out the events of one room in order, each once, without a hole."""

    def __init__(self, delivered: int) -> None:
        self.delivered = delivered
        """The revision given out last."""
        self._held: dict[int, E] = {}

    def offer(self, event: E) -> list[E]:
        """Take an event and return what can be given out now, in order."""
        if event.rev <= self.delivered:
            return []
        if len(self._held) < HELD_MAX or event.rev == self.delivered + 1:
            self._held[event.rev] = event
        ready: list[E] = []
        while (following := self._held.pop(self.delivered + 1, None)) is not None:
            ready.append(following)
            self.delivered += 1
        return ready

    @property
    def gap(self) -> bool:
        """Whether an event is held because an earlier one is missing."""
        return bool(self._held)
