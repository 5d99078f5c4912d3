"""The parts of a pod's rooms, connected with each other."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

from ashchat_chat.rooms.appending import Appender
from ashchat_chat.rooms.caching import RoomCache
from ashchat_chat.rooms.catching_up import CatchingUp
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.live import LiveRooms
from ashchat_chat.rooms.messages import Messages, MessageStore
from ashchat_chat.rooms.ports import Broadcast, Fanout, Job, RoomStore, TextQuota
from ashchat_chat.rooms.positions import Positions
from ashchat_chat.rooms.protocol1 import Protocol1
from ashchat_chat.rooms.purging import Purging
from ashchat_chat.rooms.reader_languages import ReaderLanguages


class Store(RoomStore, MessageStore, Protocol):
    """All that rooms are stored in."""


class Rooms:
    """All rooms of this pod."""

    def __init__(
        self,
        store: Store,
        broadcast: Broadcast,
        fanout: Fanout,
        *,
        job: Job,
        quota: TextQuota,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.languages = ReaderLanguages(store)
        self.directory = RoomDirectory(store, broadcast, now=now)
        self.cache = RoomCache(store, self.directory)
        self.positions = Positions(store, fanout, self.directory)
        self.protocol1 = Protocol1(self.positions.raise_soon)
        self.live = LiveRooms(store, self.directory, self.protocol1, self.positions)
        self.catching_up = CatchingUp(store, self.directory)
        self.appending = Appender(
            store,
            self.directory,
            self.languages,
            job=job,
            cache=self.cache,
            positions=self.positions,
            now=now,
        )
        self.appending.call_on_doubt(self.catching_up.doubt)

        self.messages = Messages(store, self.directory, self.appending, job=job, quota=quota)
        self.purging = Purging(store, self.messages)

    def background(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return the tasks that run as long as the pod does."""
        return self.catching_up.run, self.positions.run, self.cache.run, self.purging.run
