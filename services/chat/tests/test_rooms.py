"""Rooms over a store that fails and a fan-out that loses: order, no loss, nothing twice.

The fakes are for the rules alone; the real servers are met in the cluster. The store keeps
what the real one promises: unique revisions and client ids, answers in order. The fan-out
keeps only what Redis promises: nothing.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from ashchat_chat import rooms as rooms_module
from ashchat_chat.log import AnyEvent, MessageView, RoomView, Sent, fold_messages, fold_room
from ashchat_chat.ports import Conflict, RoomRecord, StoreAway
from ashchat_chat.rooms import NoSuchMessage, NoSuchRoom, Rooms

ROOM = "r"
PEOPLE = {"ana": "es", "ben": "en"}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryStore:
    """The log of some rooms."""

    def __init__(
        self, members: Mapping[str, tuple[str, ...]], languages: Mapping[str, str]
    ) -> None:
        self.members = dict(members)
        self.reads = dict(languages)
        self.events: dict[str, list[AnyEvent]] = {room: [] for room in members}
        self.projected = {room: RoomView(room=room) for room in members}
        self.kept: dict[tuple[str, int], MessageView] = {}
        self.fails: Callable[[str], bool] = lambda _: False
        """Whether the next call of that name fails before it did anything."""
        self.forgets: Callable[[], bool] = lambda: False
        """Whether the next insert is done, and its answer lost."""

    async def _turn(self, name: str) -> None:
        # Others run in between, as with a real server.
        await asyncio.sleep(0)
        if self.fails(name):
            raise StoreAway(name)

    async def insert(self, event: AnyEvent) -> None:
        await self._turn("insert")
        log = self.events[event.room]
        if event.rev <= len(log):
            raise Conflict
        assert event.rev == len(log) + 1, "a hole would be written"
        client_id = getattr(event, "client_id", None)
        if client_id is not None and self._find(event.room, event.sender, client_id):  # type: ignore[union-attr]
            raise Conflict
        log.append(event)
        if self.forgets():
            raise StoreAway("insert")

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
        return [event for room in sorted(revs) for event in self.events[room][revs[room] :]][:limit]

    async def room(self, room: str) -> RoomRecord | None:
        await self._turn("room")
        if room not in self.members:
            return None
        return RoomRecord(room, self.members[room], self.projected[room], EPOCH)

    async def project(
        self,
        view: RoomView,
        messages: Sequence[MessageView],
        active_at: datetime | None,  # noqa: ARG002
    ) -> None:
        await self._turn("project")
        for message in messages:
            before = self.kept.get((view.room, message.rev), message)
            merged = {**before.translations, **message.translations}
            self.kept[view.room, message.rev] = before.model_copy(update={"translations": merged})
        if self.projected[view.room].rev < view.rev:
            self.projected[view.room] = view

    async def messages(self, room: str, revs: Sequence[int]) -> list[MessageView]:
        await self._turn("messages")
        return [self.kept[room, rev] for rev in revs if (room, rev) in self.kept]

    async def languages(self, users: Sequence[str]) -> dict[str, str]:
        await self._turn("languages")
        return {user: self.reads[user] for user in users if user in self.reads}

    def sent(self, room: str) -> list[Sent]:
        return [event for event in self.events[room] if isinstance(event, Sent)]


class LossyBus:
    """Carries publications between pods; loses, doubles and swaps them as it is told."""

    def __init__(self, chance: random.Random, *, loses: float, doubles: float) -> None:
        self.chance = chance
        self.loses = loses
        self.doubles = doubles
        self.ends: list[LossyFanout] = []

    def carry(self, channel: str, text: str) -> None:
        loop = asyncio.get_running_loop()
        for end in self.ends:
            copies = 2 if self.chance.random() < self.doubles else 1
            for _ in range(copies):
                if channel in end.wanted and self.chance.random() >= self.loses:
                    loop.call_later(self.chance.random() * 0.003, end.heard, channel, text)


class LossyFanout:
    """One pod's end of the bus."""

    def __init__(self, bus: LossyBus) -> None:
        self.bus = bus
        self.wanted: set[str] = set()
        self.heard: Callable[[str, str], None] = lambda *_: None
        self.published: list[str] = []
        bus.ends.append(self)

    def publish(self, channel: str, text: str) -> None:
        self.published.append(channel)
        self.bus.carry(channel, text)

    async def subscribe(self, channel: str) -> None:
        self.wanted.add(channel)
        await asyncio.sleep(0)

    def unsubscribe(self, channel: str) -> None:
        self.wanted.discard(channel)


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

    def send(self, text: str, event: str) -> None:
        frame = json.loads(text)
        assert frame[3] == event
        self.frames.append(frame)

    async def drained(self) -> None:
        await asyncio.sleep(0)

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
    jobs: list[Sent]


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
    monkeypatch.setattr(rooms_module, "CHECK_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(rooms_module, "CHECK_MAX_SECONDS", 0.02)
    monkeypatch.setattr(rooms_module, "APPEND_AGAIN_SECONDS", 0.001)
    monkeypatch.setattr(rooms_module, "READ_DELAY_SECONDS", 0.005)
    store = MemoryStore({ROOM: ("ana", "ben")}, PEOPLE)
    bus = LossyBus(
        random.Random(seed),  # noqa: S311
        loses=loses,
        doubles=doubles,
    )
    jobs: list[Sent] = []
    made: list[Rooms] = []
    for number in range(pods):
        end = LossyFanout(bus)
        rooms = Rooms(store, end, pod=f"pod-{number}", job=jobs.append)
        end.heard = rooms.heard
        made.append(rooms)
    tasks = [asyncio.create_task(one.compare()) for one in made]
    tasks += [asyncio.create_task(one.flush_reads()) for one in made]
    try:
        yield World(store, bus, made, jobs)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def enter(rooms: Rooms, reader: Reader, since: int | None = None) -> int:
    joined = await rooms.join(ROOM, reader.user, since)
    assert not joined.reset
    await rooms.attach(ROOM, reader, joined.since)
    return joined.rev


async def say(rooms: Rooms, user: str, ref: str, text: str = "hola") -> tuple[Sent, bool]:
    return await rooms.send(ROOM, user, text=text, language=PEOPLE[user], client_id=ref)


async def settled(readers: Sequence[Reader], head: int) -> None:
    await eventually(lambda: all(reader.revs() and reader.revs()[-1] >= head for reader in readers))


async def test_a_message_is_committed_before_anybody_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        reader = Reader("ben", "en")
        assert await enter(it.pods[0], reader) == 1
        event, fresh = await say(it.pods[0], "ana", "1")
        assert fresh
        assert event.targets == ("en",)
        assert it.jobs == [event]
        assert it.store.sent(ROOM) == [event]
        assert reader.events() == [event.payload()]


async def test_the_same_id_again_is_the_same_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, pods=2) as it:
        answers = await asyncio.gather(
            *(say(it.pods[number % 2], "ana", "1", f"text {number}") for number in range(8))
        )
        assert len({event.rev for event, _ in answers}) == 1
        assert [fresh for _, fresh in answers].count(True) == 1
        assert len(it.store.sent(ROOM)) == 1
        # The id is the sender's own: somebody else's may be equal.
        assert (await say(it.pods[0], "ben", "1"))[1]


async def test_an_insert_whose_answer_was_lost_is_not_done_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        lost = iter([True])
        await it.pods[0].membership(ROOM, "ana")
        it.store.forgets = lambda: next(lost, False)
        event, _ = await say(it.pods[0], "ana", "1")
        assert it.store.sent(ROOM) == [event]


async def test_a_store_that_stays_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "APPEND_SECONDS", 0.05)
    async with world(monkeypatch) as it:
        reader = Reader("ben", "en")
        await enter(it.pods[0], reader)
        it.store.fails = lambda _: True
        with pytest.raises(StoreAway):
            await say(it.pods[0], "ana", "1")
        it.store.fails = lambda _: False
        await say(it.pods[0], "ana", "1")
        assert [event["mobile_ref_id"] for event in reader.events()] == ["1"]


async def test_strangers_and_unknown_rooms_are_not_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        for room, user in ((ROOM, "eve"), ("other", "ana")):
            with pytest.raises(NoSuchRoom):
                await it.pods[0].join(room, user, None)
            with pytest.raises(NoSuchRoom):
                await it.pods[0].send(room, user, text="x", language="en", client_id="1")
            with pytest.raises(NoSuchRoom):
                await it.pods[0].acknowledge(room, user, 1)
        assert it.store.sent(ROOM) == []


@pytest.mark.parametrize("seed", range(12))
async def test_pods_agree_whatever_the_fanout_does(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Writers on three pods; publications lost, doubled, swapped; the store fails at times."""
    chance = random.Random(seed)  # noqa: S311 (so that a failure can be repeated)
    async with world(
        monkeypatch, pods=3, seed=seed, loses=chance.choice([0.0, 0.3, 1.0]), doubles=0.3
    ) as it:
        readers = [Reader("ana", "es"), Reader("ben", "en"), Reader("ben", "de")]
        for rooms, reader in zip(it.pods, readers, strict=True):
            await enter(rooms, reader)
        it.store.fails = lambda _: chance.random() < 0.02
        it.store.forgets = lambda: chance.random() < 0.05

        async def write(rooms: Rooms, user: str, name: str) -> None:
            for number in range(12):
                # As a client: again, with the same id, until there is an answer.
                while True:
                    try:
                        await say(rooms, user, f"{name}{number}")
                        break
                    except StoreAway:
                        continue
                if chance.random() < 0.3:
                    await asyncio.sleep(chance.random() * 0.004)

        await asyncio.gather(
            write(it.pods[0], "ana", "a"),
            write(it.pods[1], "ben", "b"),
            write(it.pods[2], "ben", "c"),
        )
        it.store.fails = lambda _: False
        log = it.store.events[ROOM]
        await settled(readers, len(log))
        for reader in readers:
            assert reader.revs() == list(range(2, len(log) + 1))
        sent = [event.client_id for event in it.store.sent(ROOM)]
        assert len(sent) == len(set(sent)) == 36
        for name in "abc":
            assert [ref for ref in sent if ref[0] == name] == [f"{name}{n}" for n in range(12)]


@pytest.mark.parametrize("seed", range(8))
async def test_resuming_anywhere_leaves_no_hole(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (so that a failure can be repeated)
    async with world(monkeypatch, pods=2, seed=seed, loses=0.5) as it:
        over = asyncio.Event()

        async def write() -> None:
            for number in range(60):
                await say(it.pods[number % 2], "ana", str(number))
                await asyncio.sleep(0)
            over.set()

        heard: list[int] = []
        since = 1
        await it.pods[0].membership(ROOM, "ben")
        writing = asyncio.create_task(write())
        while not over.is_set() or since < len(it.store.events[ROOM]):
            rooms, reader = chance.choice(it.pods), Reader("ben", "en")
            await enter(rooms, reader, since)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(chance.random() * 0.003)
            rooms.detach(ROOM, reader)
            heard += reader.revs()
            since = heard[-1] if heard else since
        await writing
        assert heard == list(range(2, len(it.store.events[ROOM]) + 1))


async def test_a_gap_that_is_too_long_or_impossible_is_a_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rooms_module, "RESUME_MAX_EVENTS", 5)
    async with world(monkeypatch) as it:
        for number in range(8):
            await say(it.pods[0], "ana", str(number))
        for since in (0, 10, 1_000_000):
            joined = await it.pods[0].join(ROOM, "ben", since)
            assert (joined.reset, joined.since, joined.rev) == (True, 9, 9)
        assert (await it.pods[0].join(ROOM, "ben", 4)).reset is False


async def test_only_readers_of_a_language_get_its_translation_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        english, spanish = Reader("ben", "en"), Reader("ana", "es")
        await enter(it.pods[0], english)
        await enter(it.pods[1], spanish)
        event, _ = await say(it.pods[0], "ana", "1")
        result: dict[str, Any] = {
            "message": event.message_id, "text_version": 1, "target": "en",
            "outcome": "translated", "text": "hi", "provider": "p", "reason": None,
        }  # fmt: skip
        assert await asyncio.gather(
            *(it.pods[number % 2].translated(**result) for number in range(4))
        ) in ([True, False, False, False], [False, True, False, False])
        await settled([english], 3)
        assert [one["kind"] for one in english.events()] == ["message", "translation"]
        await eventually(spanish.events)
        assert [one["kind"] for one in spanish.events()] == ["message"]


async def test_a_translation_of_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch) as it:
        await say(it.pods[0], "ana", "1")
        for message in ("", "nowhere.2", f"{ROOM}.1", f"{ROOM}.99", "nonsense"):
            with pytest.raises(NoSuchMessage):
                await it.pods[0].translated(
                    message=message, text_version=1, target="en", outcome="failed",
                    text=None, provider=None, reason="x",
                )  # fmt: skip


async def test_a_client_of_the_original_gets_the_translation_and_its_sender_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        rooms = it.pods[0]
        ana, ben = Reader("ana", "es", protocol=1), Reader("ben", "en", protocol=1)
        await enter(rooms, ana)
        await enter(rooms, ben)
        event, _ = await say(rooms, "ana", "1", "hola")
        assert ben.events("receive_message") == []
        await rooms.translated(
            message=event.message_id, text_version=1, target="en", outcome="translated",
            text="hi", provider="p", reason=None,
        )  # fmt: skip
        told = {"chat_id": ROOM, "content": "hi", "sender_id": "ana"}
        assert ben.events("receive_message") == [told]
        assert ana.events("receive_message") == []
        await eventually(lambda: ana.events("message_sent"))
        assert ana.events("message_sent") == [
            {"mobile_ref_id": "1", "status": "READED", "chat_id": ROOM}
        ]
        assert ben.events("event") == []


async def test_a_second_tab_of_the_sender_reads_nothing_for_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        tabs = [Reader("ana", "es", protocol=1) for _ in range(2)]
        for tab in tabs:
            await enter(it.pods[0], tab)
        await say(it.pods[0], "ana", "1")
        await asyncio.sleep(0.05)
        assert [tab.events("message_sent") for tab in tabs] == [[], []]


async def test_typing_reaches_the_others_on_every_pod_and_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        ana, ben = Reader("ana", "es"), Reader("ben", "en")
        await enter(it.pods[0], ana)
        await enter(it.pods[1], ben)
        head = len(it.store.events[ROOM])
        it.pods[0].typing(ROOM, "ana", is_typing=True)
        await eventually(lambda: ben.events("typing"))
        assert ben.events("typing") == [{"is_typing": True, "user_id": "ana"}]
        assert ana.events("typing") == []
        assert len(it.store.events[ROOM]) == head


async def test_reads_rise_and_are_committed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch) as it:
        await say(it.pods[0], "ana", "1")
        assert await it.pods[0].acknowledge(ROOM, "ben", 2) == 2
        assert await it.pods[0].acknowledge(ROOM, "ben", 1) == 2
        assert await it.pods[0].acknowledge(ROOM, "ben", 2) == 2
        assert [event.kind for event in it.store.events[ROOM]] == ["members", "message", "read"]
        # Nobody reads what is not written yet.
        assert await it.pods[0].acknowledge(ROOM, "ben", 99) == 3


async def test_what_is_projected_is_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "PROJECT_PAGE", 3)
    async with world(monkeypatch, pods=2) as it:
        for number in range(9):
            event, _ = await say(it.pods[0], "ana", str(number))
            if number % 2:
                await it.pods[1].translated(
                    message=event.message_id, text_version=1, target="en",
                    outcome="translated", text=f"t{number}", provider="p", reason=None,
                )  # fmt: skip
            if number == 4:
                await it.pods[0].project(ROOM)
        await asyncio.gather(*(rooms.project(ROOM) for rooms in it.pods))
        log = it.store.events[ROOM]
        assert it.store.projected[ROOM] == fold_room(RoomView(room=ROOM), log)
        kept = [it.store.kept[key] for key in sorted(it.store.kept)]
        assert kept == fold_messages([], log)


async def test_an_empty_room_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch) as it:
        readers = [Reader("ana", "es"), Reader("ben", "en", protocol=1)]
        for reader in readers:
            await enter(it.pods[0], reader)
        assert it.bus.ends[0].wanted == {"chat:room:r"}
        it.pods[0].detach(ROOM, readers[0])
        assert it.pods[0].rooms_of("ben") == {ROOM}
        it.pods[0].detach(ROOM, readers[1])
        it.pods[0].detach(ROOM, readers[1])
        assert it.bus.ends[0].wanted == set()
        assert it.pods[0].rooms_of("ben") == frozenset()
        assert it.pods[0].people() == set()
