"""Publishes who is online to users who share a chat, on a lossy path, with expiry.

A user is online while one of their visible sockets is open on any pod. Each pod reports its sockets
every few seconds; after a crash it is silent, and they expire. Changes are published at once and
compared regularly, which compensates for lost publications. Sockets in the lobby are sent what
Phoenix.Presence sends, gathered for a moment: https://hexdocs.pm/phoenix/Phoenix.Presence.html.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from ashchat_chat.rooms.live import LiveRooms
from ashchat_chat.rooms.ports import Availability, Push, Subscriber
from ashchat_chat.users.last_seen import LastSeen, to_the_minute
from ashchat_chat.users.online import OnlineSocket, OnlineStore

REFRESH_SECONDS = 10.0
GATHER_SECONDS = 0.2
"""How long changes are gathered into one diff for each socket in the lobby."""

LOBBY = "presence:lobby"


class TooManySocketsError(Exception):
    """The user has as many sockets on all pods as they may."""


class Presence:
    """The users with sockets on this pod, and those they may know of."""

    def __init__(
        self,
        store: OnlineStore,
        publish: Callable[[str], None],
        rooms: LiveRooms,
        last_seen: LastSeen,
        *,
        pod: str,
        away: tuple[type[Exception], ...],
    ) -> None:
        self._store = store
        self._publish = publish
        self._rooms = rooms
        self._last_seen = last_seen
        self._pod = pod
        self._away = away
        self._here: dict[str, set[OnlineSocket]] = {}
        self._lobby: dict[Subscriber, Collection[str]] = {}
        self._watchers: dict[str, set[Subscriber]] = {}
        self._known: dict[str, frozenset[OnlineSocket]] = {}
        """Visible sockets of users that a user of this pod may know of."""
        self._left_at: dict[str, datetime] = {}
        """When known users left, which may not be stored yet."""
        self._shown: dict[str, frozenset[OnlineSocket]] = {}
        """What the watchers of a user were sent, if it is not what is known."""
        self._gathering: asyncio.TimerHandle | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("presence")

    async def admit(self, user: str, limit: int, *, visible: bool = True) -> OnlineSocket:
        """Count a socket that is about to be opened; if it is not, the count expires.

        Raises:
            TooManySocketsError: the user has too many on all pods.
        """
        socket = OnlineSocket.new(visible=visible)
        try:
            if not await self._store.enter(user, socket, limit):
                raise TooManySocketsError
        except self._away:
            # Each pod counts its own meanwhile.
            pass
        return socket

    def opened(self, user: str, socket: OnlineSocket) -> None:
        """A socket was opened."""
        self._here.setdefault(user, set()).add(socket)
        self._change(user, joined=(socket,))

    def closed(self, user: str, socket: OnlineSocket) -> None:
        """A socket was closed."""
        self._remove(user, socket)
        self._change(user, left=(socket,))

    def show(self, user: str, socket: OnlineSocket, *, visible: bool) -> OnlineSocket:
        """Make a socket visible or invisible; return what it is from now on."""
        if socket.visible is visible:
            return socket
        changed = OnlineSocket(socket.ref, socket.online_at, visible)
        self._remove(user, socket)
        self._here.setdefault(user, set()).add(changed)
        self._change(user, joined=(changed,), left=(socket,))
        return changed

    def _remove(self, user: str, socket: OnlineSocket) -> None:
        sockets = self._here.get(user, set())
        sockets.discard(socket)
        if not sockets:
            self._here.pop(user, None)

    async def availability(
        self, last_seen: Mapping[str, datetime | None]
    ) -> dict[str, Availability]:
        """Return whether users are online on any pod, as far as is known.

        Args:
            last_seen: When each user was last seen, as far as is stored.
        """
        before = {user: self._known.get(user, frozenset()) for user in last_seen}
        await self._look_up(last_seen)
        # A user whom nobody watches may have been forgotten meanwhile.
        return {
            user: self._availability(user, self._known.get(user, before[user]), stored)
            for user, stored in last_seen.items()
        }

    def _availability(
        self, user: str, sockets: Collection[OnlineSocket], stored: datetime | None = None
    ) -> Availability:
        times = [at for at in (stored, self._left_at.get(user)) if at is not None]
        return Availability(user, bool(sockets), max(times, default=None))

    async def _look_up(self, users: Collection[str]) -> None:
        """Read which sockets users have, unless it is known."""
        unknown = [user for user in users if user not in self._known]
        if not unknown:
            return
        try:
            found = await self._store.sockets(unknown)
        except self._away:
            found = {user: self._here.get(user, set()) for user in unknown}
        for user in unknown:
            self._learn(user, found.get(user, set()))

    async def enter_lobby(self, subscriber: Subscriber, contacts: Collection[str]) -> None:
        """Send who is online among these users, and from then on who comes and goes."""
        self._lobby[subscriber] = contacts
        for user in contacts:
            self._watchers.setdefault(user, set()).add(subscriber)
        await self._look_up(contacts)
        if subscriber in self._lobby:
            # What its watchers were not sent yet will follow as a diff.
            there = {
                user: {"metas": [socket.meta() for socket in sockets]}
                for user in contacts
                if (sockets := self._shown.get(user, self._known[user]))
            }
            subscriber.send(Push(LOBBY, "presence_state", there))

    def leave_lobby(self, subscriber: Subscriber) -> None:
        """Send a socket nothing more; harmless when it was not in the lobby."""
        for user in self._lobby.pop(subscriber, ()):
            watchers = self._watchers.get(user, set())
            watchers.discard(subscriber)
            if not watchers:
                self._watchers.pop(user, None)

    def heard(self, text: str) -> None:
        """Accept what a pod published."""
        body = json.loads(text)
        if body["pod"] == self._pod or body["user"] not in self._known:
            return
        joined = map(OnlineSocket.decode, body["joined"])
        left = set(map(OnlineSocket.decode, body["left"]))
        self._learn(body["user"], (self._known[body["user"]] | set(joined)) - left)

    async def run(self) -> None:
        """Report who is here, and compare what was published with the state; until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            watched = self._rooms.people() | set(self._watchers)
            for user in [known for known in self._known if known not in watched]:
                del self._known[user]
                self._left_at.pop(user, None)
            try:
                await self._store.refresh({user: set(one) for user, one in self._here.items()})
                found = await self._store.sockets(watched)
            except self._away:
                continue
            for user in watched:
                before = self._known.get(user)
                self._learn(user, found.get(user, set()) | self._here.get(user, set()))
                if before is None and self._known[user]:
                    # A new member of a group: the others have joined already.
                    self._report_availability(user)
                elif before and not self._known[user]:
                    # Its pod died, which stores nothing.
                    self._last_seen.left(user, before)

    async def leave(self) -> None:
        """Report that nobody is here any more: this pod ends."""
        here, self._here = self._here, {}
        try:
            await self._store.leave(here)
        except self._away:
            return

    def _change(
        self,
        user: str,
        *,
        joined: tuple[OnlineSocket, ...] = (),
        left: tuple[OnlineSocket, ...] = (),
    ) -> None:
        if user in self._known:
            self._learn(user, (self._known[user] | set(joined)) - set(left))
        gone = [socket for socket in left if socket.visible]
        if any(socket.visible for socket in self._here.get(user, ())):
            self._last_seen.returned(user)
        elif gone:
            self._last_seen.left(user, gone)
        task = asyncio.create_task(self._report(user, joined, left))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _report(
        self, user: str, joined: tuple[OnlineSocket, ...], left: tuple[OnlineSocket, ...]
    ) -> None:
        try:
            if left:
                await self._store.leave({user: left})
            if joined:
                await self._store.refresh({user: joined})
        except self._away:
            # The next comparison reports it.
            self._log.info("a change was not reported")
        body = {
            "pod": self._pod,
            "user": user,
            "joined": [socket.encode() for socket in joined if socket.visible],
            "left": [socket.encode() for socket in left if socket.visible],
        }
        self._publish(json.dumps(body))

    def _learn(self, user: str, sockets: Collection[OnlineSocket]) -> None:
        """Compare what is known with what is; tell those who may know."""
        before = self._known.get(user)
        after = frozenset(socket for socket in sockets if socket.visible)
        self._known[user] = after
        if before is None or before == after:
            return
        if bool(before) is not bool(after):
            self._note_leaving(user, left=not after)
            self._report_availability(user)
        if user in self._watchers:
            self._shown.setdefault(user, before)
            if self._gathering is None:
                loop = asyncio.get_running_loop()
                self._gathering = loop.call_later(GATHER_SECONDS, self._send_diffs)

    def _report_availability(self, user: str) -> None:
        who = self._availability(user, self._known[user])
        for room_id in self._rooms.rooms_of(user):
            self._rooms.report_availability(room_id, who)

    def _note_leaving(self, user: str, *, left: bool) -> None:
        if left:
            self._left_at[user] = to_the_minute(datetime.now(UTC))
        else:
            self._left_at.pop(user, None)

    def _send_diffs(self) -> None:
        """Send each socket in the lobby one diff of all that changed since the last one."""
        self._gathering = None
        shown, self._shown = self._shown, {}
        diffs: dict[Subscriber, tuple[dict[str, Any], dict[str, Any]]] = {}
        for user, before in shown.items():
            after = self._known.get(user, frozenset())
            joins, leaves = _metas(after - before), _metas(before - after)
            for subscriber in self._watchers.get(user, ()) if before != after else ():
                joined, left = diffs.setdefault(subscriber, ({}, {}))
                if joins:
                    joined[user] = joins
                if leaves:
                    left[user] = leaves
        for subscriber, (joined, left) in diffs.items():
            subscriber.send(Push(LOBBY, "presence_diff", {"joins": joined, "leaves": left}))


def _metas(sockets: Collection[OnlineSocket]) -> dict[str, Any] | None:
    return {"metas": [socket.meta() for socket in sockets]} if sockets else None
