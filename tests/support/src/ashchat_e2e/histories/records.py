"""What clients of rooms did and saw, and what the log of a room has. No I/O, no AshChat."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MESSAGE = "message"
EDIT = "edit"
DELETE = "delete"
REACTION = "reaction"
MEMBERS = "members"


class Outcome(StrEnum):
    """What a client knows about an operation."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """It may have happened or not: its answer was lost."""


@dataclass(slots=True)
class Operation:
    """One change that a client attempted, however often it was sent."""

    id: str
    """Unique in the run; the log has it as the client's id of the event."""

    room: str
    user: str
    kind: str
    about: str | None = None
    """The id of the operation whose message it edits, deletes or reacts to."""

    mentions: frozenset[str] = frozenset()
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    begun: int = 1
    """How many times the client has begun it: a reaction, or a role, that was taken back."""

    acknowledged: int = 0
    """How many times it was acknowledged."""

    outcome: Outcome = Outcome.UNKNOWN
    rev: int | None = None
    """Its place in the log, by the acknowledgement."""

    def acknowledge(self, rev: int | None) -> None:
        """Record the acknowledgement, with the place in the log if it names one."""
        self.outcome, self.rev, self.ended = Outcome.ACKNOWLEDGED, rev, time.monotonic()
        self.acknowledged += 1

    def again(self) -> None:
        """Record that the client begins it once more."""
        self.outcome, self.ended = Outcome.UNKNOWN, None
        self.begun += 1

    def refuse(self) -> None:
        """Record a refusal for good: it must not have happened."""
        if self.outcome is Outcome.UNKNOWN:
            self.outcome, self.ended = Outcome.REFUSED, time.monotonic()


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a room's log."""

    rev: int
    kind: str
    id: str | None = None
    """The client's id of the event; None for an event that no client sent."""

    sender: str | None = None
    n: int | None = None
    """The ordinal of a message in its room, where the log has it."""

    about: str | None = None
    about_rev: int | None = None
    """The revision of the message that it is about."""

    language: str | None = None
    """The readers' language, of a translation; None: for all."""

    members: frozenset[str] | None = None
    """Who is in the room from this event on; None: as before."""

    roles: Mapping[str, str] | None = None
    """The role of each member from this event on; None: as before."""

    emoji: str | None = None
    on: bool | None = None
    """Whether a reaction was put (or else taken back)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as a client received it."""

    rev: int
    kind: str
    id: str | None = None


@dataclass(slots=True)
class Stay:
    """What a client received on one join of a room."""

    room: str
    user: str
    language: str
    since: int | None
    """The revision after which it resumed; None: it began with the live events."""

    head: int
    """The latest revision, by the answer to the join."""

    reset: bool = False
    """Whether the server replayed nothing, because too much was missed."""

    seen: list[Seen] = field(default_factory=list)
    drained_to: int | None = None
    """The revision up to which the client waited for everything; None: the connection ended."""


@dataclass(frozen=True, slots=True)
class Count:
    """A member's counts, as the service reported them after the last change."""

    room: str
    user: str
    read: int
    """The number of the message up to which the member has read."""

    acknowledged: int
    """The highest number whose reading the service has acknowledged to the member."""

    unread: int
    mentions: int | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of a room's members, as the service reported them after the last change."""

    room: str
    user: str
    """Who asked."""

    roles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pages:
    """The messages of a room as a member reads them page by page, after the last change."""

    room: str
    user: str
    ids: tuple[str, ...]
    """The clients' ids, oldest first."""

    reactions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many users' emoji a message has, by the client's id and the emoji."""


@dataclass(slots=True)
class Run:
    """Everything that was recorded."""

    operations: dict[str, Operation] = field(default_factory=dict)
    stays: list[Stay] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    pages: list[Pages] = field(default_factory=list)
    roles: list[Roles] = field(default_factory=list)
    logs: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    """The log of each room, read from the store after the last change."""

    def begin(self, operation: Operation) -> Operation:
        """Record an operation.

        Raises:
            ValueError: Its id was used before.
        """
        if operation.id in self.operations:
            raise ValueError(f"the test used the id {operation.id!r} twice")
        self.operations[operation.id] = operation
        return operation

    def begin_again(self, operation: Operation) -> Operation:
        """Record an operation that may have been begun before; return the record."""
        before = self.operations.get(operation.id)
        if before is None:
            return self.begin(operation)
        before.again()
        return before

    def _acknowledged(self) -> Counter[str]:
        """Return how many times operations of each kind were acknowledged."""
        kinds: Counter[str] = Counter()
        for operation in self.operations.values():
            kinds[operation.kind] += operation.acknowledged
        return kinds

    def tally(self) -> dict[str, int]:
        """Return how many operations had which outcome, and how many events were received."""
        outcomes = [operation.outcome for operation in self.operations.values()]
        return {
            **{outcome.value: outcomes.count(outcome) for outcome in Outcome},
            **{f"{kind} acknowledged": n for kind, n in sorted(self._acknowledged().items())},
            "joins": len(self.stays),
            "received": sum(len(stay.seen) for stay in self.stays),
        }
