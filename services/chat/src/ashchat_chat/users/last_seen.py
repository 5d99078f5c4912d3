"""Stores when users were last online, for those who may see their presence.

Only visible sockets count: when the last one on all pods is closed or becomes invisible, the time
is stored, to the minute. So the time of a user who is invisible does not change, and an invisible
user cannot be distinguished from one who is offline.

Writes are bounded: a user who is back within a moment is not written, all others are written in
bulk, and each at most once a minute by each pod.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import structlog

from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_chat.users.online import OnlineSocket, OnlineStore

SETTLE_SECONDS = 5.0
"""How long a user must be offline before it is stored."""

CHECK_SECONDS = 1.0
CLOSE_SECONDS = 2.0


class LastSeenStore(Protocol):
    """Where the times are stored. Every method may raise StoreUnavailableError, and be repeated."""

    async def raise_last_seen(self, times: Mapping[str, datetime]) -> None:
        """Store when users were last seen, unless a later time is stored."""
        ...


@dataclass(slots=True)
class _Departure:
    """A user without visible sockets on this pod."""

    at: datetime
    settled_at: float
    sockets: set[OnlineSocket] = field(default_factory=set)
    """Sockets that are closed, although Redis may still list them."""


def to_the_minute(at: datetime) -> datetime:
    """Return the beginning of a time's minute; others see no more than that."""
    return at.replace(second=0, microsecond=0)


class LastSeen:
    """The users who left this pod, until it is stored."""

    def __init__(
        self,
        online: OnlineStore,
        store: LastSeenStore,
        *,
        away: tuple[type[Exception], ...],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Store times.

        Args:
            online: Where all pods report their sockets.
            store: Where the times are stored.
            away: What `online` raises if it is unavailable.
            now: Returns the time.
        """
        self._online = online
        self._store = store
        self._unavailable: tuple[type[Exception], ...] = (StoreUnavailableError, *away)
        self._now = now
        self._departures: dict[str, _Departure] = {}
        self._written: dict[str, datetime] = {}
        """Users whose time was stored by this pod within the current minute."""
        self._log = structlog.get_logger("presence")

    def left(self, user: str, sockets: Collection[OnlineSocket]) -> None:
        """Note that the last visible sockets of a user on this pod are gone."""
        at, settled_at = to_the_minute(self._now()), monotonic() + SETTLE_SECONDS
        before = self._departures.get(user)
        gone = {*sockets, *(before.sockets if before else ())}
        self._departures[user] = _Departure(at, settled_at, gone)

    def returned(self, user: str) -> None:
        """Note that a user has a visible socket on this pod."""
        self._departures.pop(user, None)

    async def run(self) -> None:
        """Store the times of users who stay away; until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.write(settled_by=monotonic())

    async def close(self) -> None:
        """Store the times of all users who have left, if it takes but a moment: this pod ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.write(settled_by=math.inf)

    async def write(self, *, settled_by: float) -> None:
        """Store the times of users who left before a moment, unless they are online elsewhere."""
        settled = {
            user: one for user, one in self._departures.items() if one.settled_at <= settled_by
        }
        if not settled:
            return
        try:
            found = await self._online.sockets(settled)
            absent = {
                user: one.at
                for user, one in settled.items()
                if not _visible(found.get(user, set()) - one.sockets)
            }
            await self._store_times(absent)
        except self._unavailable:
            self._log.info("times of users who left are stored later", users=len(settled))
            return
        for user, one in settled.items():
            if self._departures.get(user) is one:
                del self._departures[user]

    async def _store_times(self, times: Mapping[str, datetime]) -> None:
        minute = to_the_minute(self._now())
        self._written = {user: at for user, at in self._written.items() if at >= minute}
        news = {user: at for user, at in times.items() if self._written.get(user) != at}
        if news:
            await self._store.raise_last_seen(news)
            self._written |= {user: at for user, at in news.items() if at >= minute}


def _visible(sockets: Collection[OnlineSocket]) -> bool:
    return any(socket.visible for socket in sockets)
