"""Record what happened in a run, and check that it is permitted, in the manner of Jepsen.

Clients record their attempts and the acknowledgements, and finally what readers saw.
This module does not depend on AshChat: a message is an id, a room is a name.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Id = Hashable
Room = str
Reader = str


class ViolationsError(AssertionError):
    """The history is not one that a correct chat can have; `found` lists why."""

    def __init__(self, found: Sequence[str]) -> None:
        super().__init__("\n".join(["the history is impossible:", *found]))
        self.found = tuple(found)


@dataclass
class History:
    """A run: what was sent, what was acknowledged, and what each reader read, in order.

    An attempt that was neither acknowledged nor refused may or may not have happened;
    only such attempts may be missing from the readings.
    """

    _sent: dict[Id, Room] = field(default_factory=dict)
    _senders: dict[Id, str] = field(default_factory=dict)
    _order: dict[tuple[Room, str], list[Id]] = field(default_factory=dict)
    _acknowledged: set[Id] = field(default_factory=set)
    _refused: set[Id] = field(default_factory=set)
    _read: dict[tuple[Room, Reader], list[Id]] = field(default_factory=dict)

    def send(self, room: Room, sender: str, message: Id) -> None:
        """Record an attempt; a repeated attempt of the same message is the same attempt.

        Raises:
            ValueError: The id was used for another room or by another sender.
        """
        if message in self._sent:
            if (self._sent[message], self._senders[message]) != (room, sender):
                raise ValueError(f"the test used the id {message!r} twice")
            return
        self._sent[message] = room
        self._senders[message] = sender
        self._order.setdefault((room, sender), []).append(message)

    def acknowledged(self, message: Id) -> None:
        """Record that the service confirmed that a message is stored.

        Raises:
            ValueError: It was never sent.
        """
        self._known(message)
        self._acknowledged.add(message)

    def refused(self, message: Id) -> None:
        """Record that the service refused a message for good.

        Raises:
            ValueError: It was never sent.
        """
        self._known(message)
        self._refused.add(message)

    def read(self, reader: Reader, room: Room, messages: Iterable[Id]) -> None:
        """Record a reader's final view of a room, in the order of the room."""
        self._read.setdefault((room, reader), []).extend(messages)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many were sent, acknowledged and of unknown outcome, for the report."""
        known = self._acknowledged | self._refused
        return {
            "sent": len(self._sent),
            "acknowledged": len(self._acknowledged),
            "unknown": len(self._sent.keys() - known),
        }

    def check(self) -> None:
        """Check the history.

        Raises:
            ViolationsError: An acknowledged message is missing, a message is duplicated, unknown or
                refused, two readers disagree about the order, or one sender's acknowledged
                messages were reordered.
        """
        found: list[str] = []
        found += self._readers_missing()
        for (room, reader), ids in sorted(self._read.items()):
            found += self._reading(room, reader, ids)
        found += self._disagreements()
        if found:
            raise ViolationsError(found)

    def _known(self, message: Id) -> None:
        if message not in self._sent:
            raise ValueError(f"the test never sent {message!r}")

    def _readers_missing(self) -> list[str]:
        # A room without readings proves nothing; passing then would be a fault of the checker.
        read = {room for room, _reader in self._read}
        return [
            f"nobody read the room {room}"
            for room in sorted({self._sent[message] for message in self._acknowledged} - read)
        ]

    def _reading(self, room: Room, reader: Reader, ids: Sequence[Id]) -> list[str]:
        where = f"{reader} in {room}"
        counts = Counter(ids)
        found = [f"{where} has {key!r} {n} times" for key, n in counts.items() if n > 1]
        for message in counts:
            if message not in self._sent:
                found.append(f"{where} has {message!r}, which nobody sent")
            elif self._sent[message] != room:
                found.append(f"{where} has {message!r} of the room {self._sent[message]}")
            elif message in self._refused and message not in self._acknowledged:
                found.append(f"{where} has {message!r}, which was refused")
        found += [
            f"{where} lacks {message!r}, which was acknowledged"
            for message, sent_to in self._sent.items()
            if sent_to == room and message in self._acknowledged and message not in counts
        ]
        return found + self._swapped(room, where, ids)

    def _swapped(self, room: Room, where: str, ids: Sequence[Id]) -> list[str]:
        # A sender that awaits each acknowledgement before the next send fixes an order.
        place = {message: index for index, message in reversed(list(enumerate(ids)))}
        found: list[str] = []
        for (sent_to, sender), order in self._order.items():
            if sent_to != room:
                continue
            kept = [message for message in order if message in self._acknowledged & place.keys()]
            found += [
                f"{where} has {sender}'s {later!r} before {earlier!r}"
                for earlier, later in pairwise(kept)
                if place[later] < place[earlier]
            ]
        return found

    def _disagreements(self) -> list[str]:
        found: list[str] = []
        rooms: dict[Room, list[tuple[Reader, Sequence[Id]]]] = {}
        for (room, reader), ids in sorted(self._read.items()):
            rooms.setdefault(room, []).append((reader, ids))
        for room, readings in rooms.items():
            first_reader, first = readings[0]
            for reader, other in readings[1:]:
                both = set(first) & set(other)
                ours = [message for message in first if message in both]
                theirs = [message for message in other if message in both]
                at = next(
                    (pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]), None
                )
                if at is not None:
                    found.append(
                        f"in {room} {first_reader} has {at[0]!r} where {reader} has {at[1]!r}"
                    )
                found += [
                    f"in {room} only one of {first_reader} and {reader} has {message!r}"
                    for message in sorted(set(first) ^ set(other), key=repr)
                ]
        return found
