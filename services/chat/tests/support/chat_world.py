"""What the tests of the rules stand on: a store, a fan-out that loses, sockets, pods.

The fakes are for the rules alone; the real servers are met in the cluster. The store keeps
what the real one promises: unique revisions and client ids, answers in order. The broadcast
reports what it loses, as the streams do.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ashchat_chat.channels import POSITIONS_CHANNEL
from ashchat_chat.rooms import appending as appending_module
from ashchat_chat.rooms import catching_up as catching_up_module
from ashchat_chat.rooms import positions as positions_module
from ashchat_chat.rooms.appending import Draft
from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.rooms.events import ALL_MEMBERS, AnyEvent, Deleted, Members, Sent, Text
from ashchat_chat.rooms.folds import fold_messages
from ashchat_chat.rooms.ports import (
    CachedRoom,
    ConflictError,
    Listener,
    Membership,
    Position,
    Profile,
    Publication,
    Push,
    StoreUnavailableError,
)
from ashchat_chat.rooms.room_list import Cursor
from ashchat_chat.rooms.views import Role, RoomView
from ashchat_chat.users.revocations import Over, Revocations
from ashchat_chat.wire import phoenix
from ashchat_core.messages import TranslationResult
from ashchat_e2e.frame_checker import problem_of_push

ROOM = "r"
PEOPLE = {"ana": "es", "ben": "en"}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def result(**fields: Any) -> TranslationResult:
    """Return what translate sends for a message of ROOM."""
    return TranslationResult(room=ROOM, source=None, **fields)


@dataclass
class MemberDocument:
    """A member's document."""

    rev: int = 0
    active: bool = False
    active_at: datetime = EPOCH
    position: Position = field(default_factory=Position)


class MemoryStore:
    """The logs of some rooms, and what is cached of them."""

    def __init__(
        self, members: Mapping[str, tuple[str, ...]], languages: Mapping[str, str]
    ) -> None:
        self.reads = dict(languages)
        self.events: dict[str, list[AnyEvent]] = {room: [] for room in members}
        self.documents: dict[str, CachedRoom] = {}
        self.members: dict[tuple[str, str], MemberDocument] = {}
        for room, users in members.items():
            self.found(room, users)
        self.fails: Callable[[str], bool] = lambda _: False
        """Whether the next call of that name fails before it did anything."""
        self.forgets: Callable[[], bool] = lambda: False
        """Whether the next insert is done, and its answer lost."""
        self.called: list[str] = []
        self.purged: set[tuple[str, int]] = set()
        self.graves: set[str] = set()

    @property
    def calls(self) -> Counter[str]:
        """How often each method was called."""
        return Counter(self.called)

    def found(self, room: str, users: tuple[str, ...]) -> None:
        changes = [{"user": user, "role": Role.MEMBER} for user in users]
        founding = ({"kind": "members", "changes": changes},)
        self.documents[room] = CachedRoom(RoomView(room=room), EPOCH, founding=founding)
        self.events.setdefault(room, [])
        for user in users:
            self.members.setdefault((room, user), MemberDocument())

    async def _turn(self, name: str) -> None:
        # Others run in between, as with a real server.
        await asyncio.sleep(0)
        self.called.append(name)
        if self.fails(name):
            raise StoreUnavailableError(name)

    # The log

    async def insert(self, event: AnyEvent) -> None:
        await self._turn("insert")
        log = self.events.setdefault(event.room, [])
        if event.rev <= len(log):
            raise ConflictError
        assert event.rev == len(log) + 1, "a hole would be written"
        client_id = getattr(event, "client_id", None)
        if client_id is not None and self._find(event.room, event.sender, client_id):  # type: ignore[union-attr]
            raise ConflictError
        log.append(event)
        # The answer is on its way.
        await asyncio.sleep(0)
        if self.forgets():
            raise StoreUnavailableError("insert")

    def _find(self, room: str, sender: str, client_id: str) -> AnyEvent | None:
        for event in self.events[room]:
            if (getattr(event, "sender", None), getattr(event, "client_id", None)) == (
                sender,
                client_id,
            ):
                return event
        return None

    async def by_client_id(self, room: str, sender: str, client_id: str) -> AnyEvent | None:
        await self._turn("by_client_id")
        return self._find(room, sender, client_id)

    async def at(self, room: str, rev: int) -> AnyEvent | None:
        await self._turn("at")
        log = self.events[room]
        return log[rev - 1] if rev <= len(log) else None

    async def after(self, revs: Mapping[str, int], limit: int) -> list[AnyEvent]:
        await self._turn("after")
        found = [
            event for room in sorted(revs) for event in self.events.get(room, [])[revs[room] :]
        ]
        return found[:limit]

    async def numbered(self, ranges: Mapping[str, tuple[int, int]]) -> list[Sent]:
        await self._turn("numbered")
        return [
            event
            for room, (first, last) in sorted(ranges.items())
            for event in self.sent(room)
            if first <= event.n <= last
        ]

    async def about(self, revs: Mapping[str, Sequence[int]]) -> list[AnyEvent]:
        await self._turn("about")
        return [
            event
            for room, wanted in sorted(revs.items())
            for event in self.events[room]
            if event.message_rev in wanted and not isinstance(event, Sent)
        ]

    async def languages(self, users: Sequence[str]) -> dict[str, str]:
        await self._turn("languages")
        return {user: self.reads[user] for user in users if user in self.reads}

    # What is cached

    async def room(self, room: str) -> CachedRoom | None:
        await self._turn("room")
        return self.documents.get(room)

    async def rooms(self, rooms: Sequence[str]) -> dict[str, CachedRoom]:
        await self._turn("rooms")
        return {room: self.documents[room] for room in rooms if room in self.documents}

    async def cache(self, rooms: Sequence[CachedRoom]) -> None:
        await self._turn("cache")
        for one in rooms:
            room = one.view.room
            for (where, _), document in self.members.items():
                if where == room and document.active:
                    document.active_at = max(document.active_at, one.active_at)
            before = self.documents.get(room)
            if before is not None and before.view.rev < one.view.rev:
                preview = one.preview or before.preview
                self.documents[room] = CachedRoom(one.view, one.active_at, preview)

    async def prepare_members(self, room: str, users: Sequence[str]) -> None:
        await self._turn("prepare_members")
        for user in users:
            self.members.setdefault((room, user), MemberDocument())

    async def discard_members(self, room: str) -> None:
        await self._turn("discard_members")
        self.members = {key: one for key, one in self.members.items() if key[0] != room}

    async def project_members(self, room: str, events: Sequence[Members], view: RoomView) -> None:
        del view
        await self._turn("project_members")
        for event in events:
            for change in event.changes:
                document = self.members.get((room, change.user))
                if document is not None and document.rev < event.rev:
                    document.rev, document.active = event.rev, change.role is not None
                    document.active_at = max(document.active_at, event.at)

    async def memberships(self, user: str, after: Cursor | None, limit: int) -> list[Membership]:
        await self._turn("memberships")
        found = sorted(
            (
                Membership(room, document.active_at, document.position)
                for (room, who), document in self.members.items()
                if who == user and document.active
            ),
            key=lambda one: (-one.active_at.timestamp(), one.room),
        )
        if after is not None:
            at, last = after
            found = [
                one
                for one in found
                if one.active_at < at or (one.active_at == at and one.room > last)
            ]
        return found[:limit]

    async def positions(self, rooms: Sequence[str]) -> dict[str, dict[str, Position]]:
        await self._turn("positions")
        result: dict[str, dict[str, Position]] = {}
        for (room, user), document in self.members.items():
            if room in rooms:
                result.setdefault(room, {})[user] = document.position
        return result

    async def raise_positions(self, positions: Mapping[tuple[str, str], Position]) -> None:
        await self._turn("raise_positions")
        for key, position in positions.items():
            document = self.members.get(key)
            if document is not None:
                document.position = document.position.raised(position)

    # Messages that changed, and mentions

    async def by_tags(self, tags: Sequence[str]) -> dict[str, Profile]:
        await self._turn("by_tags")
        users = {user for _, user in self.members} | set(self.reads)
        return {
            tag: Profile(tag.removesuffix("_x"), tag, tag, "en")
            for tag in tags
            if tag.removesuffix("_x") in users
        }

    async def mentions(self, user: str, after: Mapping[str, int]) -> dict[str, int]:
        await self._turn("mentions")
        counts = {room: mentions_of(user, self.events[room], n) for room, n in after.items()}
        return {room: count for room, count in counts.items() if count}

    async def purge(self, deletion: Deleted, events: Sequence[AnyEvent]) -> None:
        for event in events:
            await self._turn("purge")
            self.events[event.room][event.rev - 1] = event
        await self.set_preview(deletion.room, deletion.number, "")
        self.purged.add((deletion.room, deletion.rev))

    async def unpurged(self, before: datetime, limit: int) -> list[Deleted]:
        await self._turn("unpurged")
        return [
            event
            for log in self.events.values()
            for event in log
            if isinstance(event, Deleted)
            and event.at < before
            and (event.room, event.rev) not in self.purged
        ][:limit]

    async def set_preview(self, room: str, n: int, text: str) -> None:
        await self._turn("set_preview")
        document = self.documents[room]
        if document.preview is not None and document.preview.n == n:
            preview = replace(document.preview, text=text)
            self.documents[room] = replace(document, preview=preview)

    async def add_group(
        self, room: str, founding: Sequence[Mapping[str, Any]], at: datetime
    ) -> None:
        await self._turn("add_group")
        if room in self.documents:
            raise ConflictError
        view = RoomView(room=room, kind="group")
        self.documents[room] = CachedRoom(view, at, founding=tuple(founding))
        self.events[room] = []

    async def buried(self, gone: Sequence[str]) -> bool:
        await self._turn("buried")
        return not self.graves.isdisjoint(gone)

    def sent(self, room: str) -> list[Sent]:
        return [event for event in self.events[room] if isinstance(event, Sent)]


def mentions_of(user: str, log: Sequence[AnyEvent], after: int) -> int:
    """Return how many messages after a number mention a user, counted one by one."""
    return sum(
        message.n > after
        and message.sender != user
        and not {user, ALL_MEMBERS}.isdisjoint(message.mentions)
        for message in fold_messages([], log)
    )


class LossyBus:
    """Carries publications between pods; loses, duplicates and reorders them as configured.

    A lost one is reported, as the streams do; what `hides` are lost without a trace.
    """

    def __init__(self, chance: random.Random, *, loses: float, doubles: float) -> None:
        self.chance = chance
        self.loses = loses
        self.doubles = doubles
        self.hides = False
        self.ends: list[LossyBroadcast] = []

    def carry(self, sender: "LossyBroadcast", publication: Publication) -> None:
        loop = asyncio.get_running_loop()
        for end in self.ends:
            if end is sender or self.hides:
                continue
            copies = 2 if self.chance.random() < self.doubles else 1
            for _ in range(copies):
                delay = self.chance.random() * 0.003
                if self.chance.random() >= self.loses:
                    loop.call_later(delay, end.listener.heard, publication)
                else:
                    room = publication.room
                    loop.call_later(delay, end.listener.missed, lambda one, room=room: one == room)


class LossyBroadcast:
    """One pod's end of the bus."""

    def __init__(self, bus: LossyBus, *, inline: int = 1_000_000) -> None:
        self.bus = bus
        self.inline = inline
        self.listener: Listener
        self.published: list[AnyEvent] = []
        bus.ends.append(self)

    def publish(self, event: AnyEvent, members: Collection[str]) -> None:
        self.published.append(event)
        text = event.model_dump_json(exclude_none=True)
        text = text if len(text) <= self.inline else ""
        self.bus.carry(self, Publication(event.room, event.rev, tuple(members), text))


class Channels:
    """Publish/subscribe without loss, to all pods."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Callable[[str], None]]] = []
        """What each pod does with a publication, by channel."""

    def publish(self, channel: str, text: str) -> None:
        for pod in self.pods:
            asyncio.get_running_loop().call_soon(pod[channel], text)


async def eventually(probe: Callable[[], object]) -> None:
    """Wait, a moment at most, until something holds."""
    async with asyncio.timeout(5):
        while not probe():  # noqa: ASYNC110 (the rules have no event for every test)
            await asyncio.sleep(0.005)


@dataclass(eq=False)
class Reader:
    """A socket: keeps what it is sent."""

    user: str
    language: str
    protocol: int = 2
    frames: list[Any] = field(default_factory=list)
    unconfirmed: list[Callable[[], None]] = field(default_factory=list)
    ended: bool = False

    gone: bool = False
    room: int | None = None
    """How many more frames it takes; None: any number."""
    behind: list[int] = field(default_factory=list)

    def send(self, push: Push) -> bool:
        if self.room is not None:
            if self.room == 0:
                return False
            self.room -= 1
        frame = phoenix.frame_of(push)
        head = {126: 4, 127: 10}.get(frame[1], 2)  # RFC 6455, section 5.2
        self.frames.append(json.loads(frame[head:]))
        problem = problem_of_push(self.frames[-1], self.protocol)
        assert not problem, problem
        return True

    def when_received(self, call: Callable[[], None]) -> None:
        self.unconfirmed.append(call)

    def receive(self) -> None:
        """Confirm, as the client, everything that was sent."""
        confirmed, self.unconfirmed = self.unconfirmed, []
        for call in confirmed:
            call()

    def fell_behind(self, since: int) -> None:
        self.behind.append(since)

    async def drained(self) -> None:
        await asyncio.sleep(0)
        if self.room == 0:
            self.room = 1

    def end(self) -> None:
        self.ended = True

    def events(self, name: str = "event") -> list[dict[str, Any]]:
        return [frame[4] for frame in self.frames if frame[3] == name]

    def revs(self) -> list[int]:
        return [payload["rev"] for payload in self.events()]


@dataclass
class World:
    """Some pods over one store."""

    store: MemoryStore
    bus: LossyBus
    pods: list[Rooms]
    jobs: list[Text]
    quota: "Quota"


@asynccontextmanager
async def world(
    monkeypatch: pytest.MonkeyPatch,
    *,
    pods: int = 1,
    seed: int = 0,
    loses: float = 0.0,
    doubles: float = 0.0,
) -> AsyncIterator[World]:
    # The same rules, in milliseconds.
    monkeypatch.setattr(catching_up_module, "HOLE_SECONDS", 0.005)
    monkeypatch.setattr(catching_up_module, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(catching_up_module, "DOUBT_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(appending_module, "APPEND_AGAIN_SECONDS", 0.001)
    monkeypatch.setattr(positions_module, "COALESCE_SECONDS", 0.005)
    store = MemoryStore({ROOM: ("ana", "ben")}, PEOPLE)
    bus = LossyBus(
        random.Random(seed),  # noqa: S311
        loses=loses,
        doubles=doubles,
    )
    channels = Channels()
    jobs: list[Text] = []
    made: list[Rooms] = []
    quota = Quota()
    for _ in range(pods):
        end = LossyBroadcast(bus)
        rooms = Rooms(store, end, channels, job=jobs.append, quota=quota)
        end.listener = rooms.catching_up
        channels.pods.append({POSITIONS_CHANNEL: rooms.positions.heard})
        made.append(rooms)
    tasks = [asyncio.create_task(one.catching_up.run()) for one in made]
    tasks += [asyncio.create_task(one.positions.run()) for one in made]
    try:
        yield World(store, bus, made, jobs, quota)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def enter(rooms: Rooms, reader: Reader, since: int | None = None) -> int:
    joined = await rooms.live.join(ROOM, reader.user, since)
    assert not joined.reset
    await rooms.live.attach(ROOM, reader, joined.since)
    return joined.rev


async def say(rooms: Rooms, user: str, ref: str, text: str = "hola") -> tuple[Sent, bool]:
    return await rooms.appending.send(ROOM, user, Draft(text, ref, PEOPLE[user]))


def draft(ref: str, text: str = "hola", **more: Any) -> Draft:
    return Draft(text, ref, "es", **more)


async def settled(readers: Sequence[Reader], head: int) -> None:
    await eventually(lambda: all(reader.revs() and reader.revs()[-1] >= head for reader in readers))


@dataclass
class Quota:
    """What accounts have stored, in characters."""

    limit: int = 1_000_000_000
    stored: Counter[str] = field(default_factory=Counter)

    async def charge(self, user: str, chars: int) -> int:
        await asyncio.sleep(0)
        if self.stored[user] + chars > self.limit:
            return 7
        self.stored[user] += chars
        return 0

    def give_back(self, user: str, chars: int) -> None:
        self.stored[user] -= chars


class RedisUnavailableError(Exception):
    """Redis does not answer."""


class SharedLog:
    """The revocations of all pods; loses everything, or fails, as configured."""

    def __init__(self) -> None:
        self.entries: list[Over] = []
        self.away = False
        self.written = asyncio.Event()

    async def add(self, over: Sequence[Over]) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise RedisUnavailableError
        self.entries += over
        self.written.set()

    async def after(self, cursor: str, *, wait: bool) -> tuple[str, list[Over]]:
        if wait and len(self.entries) <= int(cursor):
            self.written.clear()
            await asyncio.wait([asyncio.create_task(self.written.wait())], timeout=0.01)
        await asyncio.sleep(0)
        if self.away:
            raise RedisUnavailableError
        found = self.entries[int(cursor) :][:2]
        return str(int(cursor) + len(found)), found


def revocations(log: SharedLog | None = None, *, keep_seconds: float = 60.0) -> Revocations:
    """Return one pod's end of a log."""
    return Revocations(log or SharedLog(), keep_seconds=keep_seconds, away=(RedisUnavailableError,))
