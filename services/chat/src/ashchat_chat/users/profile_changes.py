"""Publishes profile changes to every user who shares a room, on every pod.

On a lossy path: a client that misses a change gets it at the next join. The content is read from
the store, so that of two concurrent changes the newer one wins, whichever is received last.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from ashchat_chat.channels import PROFILE_CHANNEL
from ashchat_chat.rooms.live import LiveRooms
from ashchat_chat.rooms.ports import Profile, StoreUnavailableError
from ashchat_chat.rooms.reader_languages import ReaderLanguages

AGAIN_SECONDS = 1.0
"""How long to wait after the store was unavailable, and between two rounds of changes: however
often a user changes their profile, others are sent one state of it in this time."""


class ProfileStore(Protocol):
    """Where profiles are. Methods may raise StoreUnavailableError."""

    async def profiles(self, user_ids: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles there are, by id."""
        ...


class ProfileChanges:
    """The profile changes that this pod publishes."""

    def __init__(
        self,
        store: ProfileStore,
        rooms: LiveRooms,
        languages: ReaderLanguages,
        publish: Callable[[str, str], None],
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._languages = languages
        self._publish = publish
        self._changed: set[str] = set()
        self._wake = asyncio.Event()

    def changed(self, user: str) -> None:
        """Publish to all pods, including this one, that a user's profile has changed."""
        self._publish(PROFILE_CHANNEL, user)

    def heard(self, user: str) -> None:
        """Take what a pod said."""
        # What is written from now on is translated into what they read now.
        self._languages.forget(user)
        if self._rooms.rooms_of(user):
            self._changed.add(user)
            self._wake.set()

    async def run(self) -> None:
        """Notify the sockets; until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, set()
            try:
                found = await self._store.profiles(sorted(changed))
            except StoreUnavailableError:
                self._changed |= changed
                self._wake.set()
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            for user, profile in found.items():
                for room in filter(self._rooms.is_direct, self._rooms.rooms_of(user)):
                    self._rooms.tell(room, "receiver_info", profile.payload(), but=user)
            await asyncio.sleep(AGAIN_SECONDS)
