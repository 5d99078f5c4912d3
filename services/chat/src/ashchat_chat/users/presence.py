"""Publishes who is online to users who share a chat, on a lossy path, with expiry.

A user is online while one of their sockets is open on any pod. Each pod reports its users every
few seconds; after a crash it is silent, and its users expire. Changes are published at once and
compared regularly, which compensates for lost publications.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from ashchat_chat.rooms.live import LiveRooms
from ashchat_chat.rooms.ports import Push, Subscriber

REFRESH_SECONDS = 10.0
TYPING_EXPIRES_SECONDS = 6.0
TYPING_AGAIN_SECONDS = 2.0
"""A client that says every keystroke is heard this often."""

LOBBY = "presence:lobby"


class OnlineStore(Protocol):
    """Where all pods say who is online. Methods may raise what `away` lists."""

    async def mark_online(self, users: Iterable[str], pod: str) -> None:
        """Say that these people are online here, for a while."""
        ...

    async def mark_offline(self, users: Iterable[str], pod: str) -> None:
        """Say that these people are online here no more."""
        ...

    async def online(self, users: Iterable[str]) -> set[str]:
        """Return who of these people is online on any pod."""
        ...


class Presence:
    """The people with sockets on this pod, and those they may know of."""

    def __init__(
        self,
        store: OnlineStore,
        publish: Callable[[str], None],
        rooms: LiveRooms,
        *,
        pod: str,
        away: tuple[type[Exception], ...],
    ) -> None:
        self._store = store
        self._publish = publish
        self._rooms = rooms
        self._pod = pod
        self._away = away
        self._here: dict[str, int] = {}
        self._lobby: dict[Subscriber, set[str]] = {}
        self._watchers: dict[str, set[Subscriber]] = {}
        """Publishes changes; the cost of one is the number of users who are notified."""
        self._known: dict[str, bool] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("presence")

    def opened(self, user: str) -> None:
        """A socket was opened."""
        self._here[user] = self._here.get(user, 0) + 1
        if self._here[user] == 1:
            self._spawn(user)

    def closed(self, user: str) -> None:
        """A socket was closed."""
        left = self._here.get(user, 1) - 1
        if left:
            self._here[user] = left
        else:
            self._here.pop(user, None)
            self._spawn(user)

    async def online(self, user: str) -> bool:
        """Return whether a user is online on any pod, as far as is known."""
        if user in self._here:
            self._known[user] = True
            return True
        try:
            found = await self._store.online([user])
        except self._away:
            return self._known.get(user, False)
        self._known[user] = user in found
        return user in found

    async def enter_lobby(self, subscriber: Subscriber, contacts: set[str]) -> None:
        """Tell a socket who is online among these, and from now on who comes and goes."""
        self._lobby[subscriber] = contacts
        for user in contacts:
            self._watchers.setdefault(user, set()).add(subscriber)
        try:
            there = await self._store.online([*contacts])
        except self._away:
            there = {user for user in contacts if user in self._here}
        self._known.update({user: user in there for user in contacts})
        if there and subscriber in self._lobby:
            subscriber.send(_diff(joins=there, leaves=()))

    def leave_lobby(self, subscriber: Subscriber) -> None:
        """Tell a socket nothing more; harmless when it was not there."""
        for user in self._lobby.pop(subscriber, set()):
            watchers = self._watchers.get(user, set())
            watchers.discard(subscriber)
            if not watchers:
                self._watchers.pop(user, None)

    def heard(self, text: str) -> None:
        """Take what another pod published."""
        body = json.loads(text)
        if body.get("pod") != self._pod:
            self._changed(body["user"], online=body["online"] or body["user"] in self._here)

    async def run(self) -> None:
        """Report who is here, and compare what was published with the state; until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                if self._here:
                    await self._store.mark_online(list(self._here), self._pod)
                watched = self._watched()
                there = await self._store.online(watched)
            except self._away:
                continue
            for user in watched:
                self._changed(user, online=user in there or user in self._here)
            for user in [known for known in self._known if known not in watched]:
                del self._known[user]

    async def leave(self) -> None:
        """Say that nobody is here any more: this pod ends."""
        users = list(self._here)
        self._here.clear()
        if not users:
            return
        try:
            await self._store.mark_offline(users, self._pod)
        except self._away:
            return

    def _spawn(self, user: str) -> None:
        task = asyncio.create_task(self._tell(user))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _tell(self, user: str) -> None:
        here = user in self._here
        try:
            if here:
                await self._store.mark_online([user], self._pod)
                online = True
            else:
                await self._store.mark_offline([user], self._pod)
                online = user in await self._store.online([user]) or user in self._here
        except self._away:
            online = user in self._here
        self._changed(user, online=online)
        self._publish(json.dumps({"user": user, "online": online, "pod": self._pod}))

    def _watched(self) -> set[str]:
        return self._rooms.people() | set(self._watchers)

    def _changed(self, user: str, *, online: bool) -> None:
        # Users not reported yet are assumed to be offline.
        if self._known.get(user, False) is online:
            return
        # People nobody here may know of are forgotten at the next comparison.
        self._known[user] = online
        status = {"status": "online" if online else "offline"}
        for room_id in self._rooms.rooms_of(user):
            self._rooms.tell(room_id, "receiver_online", status, but=user)
        watchers = self._watchers.get(user)
        if watchers:
            push = _diff(joins=(user,) if online else (), leaves=() if online else (user,))
            for subscriber in watchers:
                subscriber.send(push)


def _diff(*, joins: Iterable[str], leaves: Iterable[str]) -> Push:
    """Return Phoenix's diff (https://hexdocs.pm/phoenix/Phoenix.Presence.html)."""
    meta = {"metas": [{"online_at": int(time.time() * 1000), "phx_ref": secrets.token_hex(6)}]}
    return Push(
        LOBBY,
        "presence_diff",
        {"joins": dict.fromkeys(joins, meta), "leaves": dict.fromkeys(leaves, meta)},
    )


class Typing:
    """Throttles what a client says, and ends what it forgets to end. Pure but for timers."""

    def __init__(self, rooms: LiveRooms) -> None:
        self._rooms = rooms
        self._now: dict[tuple[str, str], tuple[float, asyncio.TimerHandle]] = {}

    def said(self, room_id: str, user: str, *, is_typing: bool) -> None:
        """Take what a client said."""
        loop = asyncio.get_running_loop()
        key = (room_id, user)
        before = self._now.pop(key, None)
        if before is not None:
            before[1].cancel()
        if not is_typing:
            if before is not None:
                self._rooms.typing(room_id, user, is_typing=False)
            return
        told_at = before[0] if before is not None else float("-inf")
        if loop.time() - told_at >= TYPING_AGAIN_SECONDS:
            told_at = loop.time()
            self._rooms.typing(room_id, user, is_typing=True)
        timer = loop.call_later(TYPING_EXPIRES_SECONDS, self._expire, key)
        self._now[key] = (told_at, timer)

    def _expire(self, key: tuple[str, str]) -> None:
        if self._now.pop(key, None) is not None:
            self._rooms.typing(*key, is_typing=False)
