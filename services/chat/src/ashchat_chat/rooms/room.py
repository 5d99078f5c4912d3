"""One room on this pod: its view, and the sockets that have joined it."""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.events import AnyEvent
from ashchat_chat.rooms.folds import fold_room
from ashchat_chat.rooms.holdback import Holdback
from ashchat_chat.rooms.ports import Subscriber
from ashchat_chat.rooms.sequence import Sequencer
from ashchat_chat.rooms.views import RoomView

CHECK_FIRST_SECONDS, CHECK_MAX_SECONDS = 2.0, 10.0
"""How often heads are compared: soon after something happened, then less and less."""


@dataclass(slots=True, eq=False)
class Room:
    """A room that this pod has loaded."""

    view: RoomView
    sequencer: Sequencer[AnyEvent]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    # By language, so that a frame is made once for all who get the same.
    two: dict[str, set[Subscriber]] = field(default_factory=dict)
    one: dict[str, dict[Subscriber, int]] = field(default_factory=dict)
    replaying: set[Subscriber] = field(default_factory=set)
    """Sockets that are served from the log: they join the others when they have all of it."""
    holds: dict[str, Holdback] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    unread: deque[tuple[int, str, str]] = field(default_factory=lambda: deque(maxlen=500))
    """(rev, sender, client id) of messages whose senders did not get READED yet."""
    check_at: float = 0.0
    check_every: float = CHECK_FIRST_SECONDS

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

    def accept(self, events: Iterable[AnyEvent]) -> Iterable[tuple[RoomView, AnyEvent]]:
        """Fold the events that are next in order; yield each with the view before it."""
        for event in events:
            for ready in self.sequencer.offer(event):
                before = self.view
                self.view = fold_room(before, [ready])
                yield before, ready

    def touched(self) -> None:
        """Compare heads soon, because something happened in the room."""
        self.check_every = CHECK_FIRST_SECONDS
        self.check_at = min(self.check_at, monotonic() + CHECK_FIRST_SECONDS)
