"""Folds logs into the stored projections of rooms."""

import asyncio

from ashchat_chat.rooms.events import Sent
from ashchat_chat.rooms.folds import fold_messages, fold_room
from ashchat_chat.rooms.ports import LogStore, StoreUnavailableError

PROJECT_DELAY_SECONDS = 1.0
PROJECT_PAGE = 500
"""Events in one read."""


class Projecting:
    """Brings the projections of rooms that changed up to date."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._changed: set[str] = set()

    def changed(self, room_id: str) -> None:
        """Project a room soon."""
        self._changed.add(room_id)

    async def run(self) -> None:
        """Project the rooms that changed; until cancelled."""
        while True:
            await asyncio.sleep(PROJECT_DELAY_SECONDS)
            rooms, self._changed = self._changed, set()
            for room_id in rooms:
                try:
                    await self.project(room_id)
                except StoreUnavailableError:
                    self._changed.add(room_id)

    async def project(self, room_id: str) -> None:
        """Fold the log into the stored projections of a room.

        Raises:
            StoreUnavailableError: not now.
        """
        record = await self._store.room(room_id)
        if record is None:
            return
        view = record.projected
        while events := await self._store.after({room_id: view.rev}, PROJECT_PAGE):
            touched = {event.about for event in events if event.about is not None}
            before = sorted(rev for rev in touched if rev <= view.rev)
            known = await self._store.messages(room_id, before) if before else []
            view = fold_room(view, events)
            last = max((event.at for event in events if isinstance(event, Sent)), default=None)
            await self._store.project(view, fold_messages(known, events), last)
