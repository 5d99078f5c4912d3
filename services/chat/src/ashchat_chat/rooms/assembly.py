"""The parts of a pod's rooms, connected with each other."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from ashchat_chat.rooms.appending import Appender
from ashchat_chat.rooms.catching_up import CatchingUp
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.live import LiveRooms
from ashchat_chat.rooms.ports import Fanout, Job, LogStore
from ashchat_chat.rooms.projecting import Projecting
from ashchat_chat.rooms.protocol1 import Protocol1
from ashchat_chat.rooms.reader_languages import ReaderLanguages


class Rooms:
    """All rooms of this pod."""

    def __init__(
        self,
        store: LogStore,
        fanout: Fanout,
        *,
        pod: str,
        job: Job,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.languages = ReaderLanguages(store)
        self.directory = RoomDirectory(store, now=now)
        self.projecting = Projecting(store)
        self.protocol1 = Protocol1()
        self.live = LiveRooms(store, fanout, self.directory, self.protocol1, pod=pod)
        self.catching_up = CatchingUp(store, self.directory, self.live)
        self.appending = Appender(
            store,
            fanout,
            self.directory,
            self.languages,
            job=job,
            committed=self.projecting.changed,
            now=now,
        )

    def background(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return the tasks that run as long as the pod does."""
        return self.catching_up.compare, self.flush_reads, self.projecting.run

    async def flush_reads(self) -> None:
        """Commit the reads that protocol 1 implies; until cancelled."""
        await self.protocol1.flush_reads(self.appending.acknowledge)
