"""One room on this pod: its view, and the sockets that have joined it."""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from ashchat_chat.rooms.events import AnyEvent, Members, Sent
from ashchat_chat.rooms.folds import fold_room
from ashchat_chat.rooms.holdback import Holdback
from ashchat_chat.rooms.identifiers import is_placeholder
from ashchat_chat.rooms.ports import Position, Subscriber
from ashchat_chat.rooms.sequence import Sequencer
from ashchat_chat.rooms.views import RoomView


@dataclass(slots=True, eq=False)
class Room:
    """A room that this pod has loaded."""

    view: RoomView
    sequencer: Sequencer[AnyEvent]
    opened_at: datetime
    """When the room was last active, as far as its document says."""
    last: Sent | None = None
    """The newest message, once this pod has received one."""
    member_events: list[Members] = field(default_factory=list)
    """Changes of members that are not written to their documents yet."""
    deleted: set[int] = field(default_factory=set)
    """The revisions of messages that were deleted since this pod loaded the room."""
    departed: set[str] = field(default_factory=set)
    """The users whose accounts were deleted since this pod loaded the room."""
    positions: dict[str, Position] = field(default_factory=dict)
    """How far members are, as far as this pod knows."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    # By language, so that a frame is made once for all who get the same.
    two: dict[str, set[Subscriber]] = field(default_factory=dict)
    one: dict[str, dict[Subscriber, int]] = field(default_factory=dict)
    replaying: set[Subscriber] = field(default_factory=set)
    """Sockets that are served from the log: they join the others when they have all of it."""
    holds: dict[str, Holdback] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    unread: deque[tuple[int, str, str]] = field(default_factory=lambda: deque(maxlen=500))
    """(n, sender, client id) of messages whose senders did not get READED yet."""
    loaded_rev: int = 0
    """The newest revision that was read when the room was loaded."""
    stale: bool = False
    """Whether events may have been committed that this pod has not received."""

    @property
    def id(self) -> str:
        """The room's id."""
        return self.view.room

    @property
    def occupied(self) -> bool:
        """Whether a socket of this pod has joined the room."""
        return bool(self.two or self.one or self.replaying)

    def subscribers(self) -> list[Subscriber]:
        """Return all sockets of this pod that have joined the room."""
        groups = (*self.two.values(), *self.one.values(), self.replaying)
        return [subscriber for group in groups for subscriber in group]

    def read_position(self, user: str) -> int:
        """Return up to where a user has read; what was there before the user joined is read."""
        member = self.view.members.get(user)
        return max(self.positions.get(user, Position()).read, member.joined_n if member else 0)

    def read_by_others(self, user: str) -> int:
        """Return up to where all other members have read."""
        others = [one for one in self.view.members if one != user and not is_placeholder(one)]
        return min(map(self.read_position, others), default=0)

    def accept(self, events: Iterable[AnyEvent]) -> Iterable[tuple[RoomView, AnyEvent]]:
        """Fold the events that are next in order; yield each with the view before it."""
        for event in events:
            for ready in self.sequencer.offer(event):
                before = self.view
                self.view = fold_room(before, [ready])
                yield before, ready

    @property
    def in_use(self) -> bool:
        """Whether the room must stay in memory."""
        return self.occupied or self.lock.locked()
