"""A deleted account leaves nothing, whatever dies in the middle; the others keep their room."""

import asyncio
import contextlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given

from ashchat_chat.rooms.appending import Draft
from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.rooms.chats import Chats
from ashchat_chat.rooms.errors import NoSuchRoomError, NoSuchUserError, ReceiverDeletedError
from ashchat_chat.rooms.events import AnyEvent, Sent, Translated
from ashchat_chat.rooms.folds import fold_messages, fold_room
from ashchat_chat.rooms.identifiers import is_placeholder, placeholder
from ashchat_chat.rooms.ports import (
    ConflictError,
    Position,
    Profile,
    StoreUnavailableError,
    deleted_profile,
)
from ashchat_chat.rooms.room_list import RoomList
from ashchat_chat.rooms.views import MessageView, RoomView
from ashchat_chat.users import deletion as deletion_module
from ashchat_chat.users.deletion import Deletion
from ashchat_chat.users.profiles import Device, NoProfileError, Profiles
from chat_logs import logs
from chat_world import (
    EPOCH,
    ROOM,
    Channels,
    LossyBroadcast,
    LossyBus,
    MemoryStore,
    Quota,
    Reader,
    SharedLog,
    enter,
    eventually,
    result,
    revocations,
    say,
    world,
)

GONE = placeholder("ana")
DEVICE = Device("hash of ana", "push")


class PeopleStore(MemoryStore):
    """All that chat keeps, in dictionaries; single-document writes, as the real one."""

    def __init__(self, *rooms: str) -> None:
        members = {room: ("ana", f"friend-{room}") for room in rooms}
        super().__init__(members, {})
        self.pairs = {frozenset(pair): room for room, pair in members.items()}
        self.people: dict[str, Profile] = {}
        self.times: dict[tuple[str, str], datetime] = {}
        self.devices: dict[str, tuple[int, Sequence[Device]]] = {}
        self.online = {"ana"}

    def everything(self) -> str:
        """Return all that is kept, to look for a name in."""
        return str([
            self.events, self.documents, self.members, self.pairs, self.people, self.times,
            self.devices, self.graves, self.online,
        ])  # fmt: skip

    # profiles

    async def add_profile(self, profile: Profile) -> None:
        await self._turn("add_profile")
        if profile.user_id in self.people:
            raise ConflictError
        self.people[profile.user_id] = profile

    async def set_devices(self, user_id: str, version: int, devices: Sequence[Device]) -> None:
        await self._turn("set_devices")
        if user_id not in self.devices or self.devices[user_id][0] < version:
            self.devices[user_id] = version, devices

    async def profile(self, user_id: str) -> Profile | None:
        await self._turn("profile")
        return self.people.get(user_id)

    async def profiles(self, user_ids: Sequence[str]) -> dict[str, Profile]:
        await self._turn("profiles")
        return {who: self.people[who] for who in user_ids if who in self.people}

    async def by_tag(self, tag: str) -> Profile | None:
        await self._turn("by_tag")
        return next((one for one in self.people.values() if one.tag == tag), None)

    async def change(self, user_id: str, at: datetime, **fields: str) -> bool:
        await self._turn("change")
        if user_id not in self.people:
            return False
        self.people[user_id] = replace(self.people[user_id], **cast("dict[str, Any]", fields))
        self.times |= {(user_id, name): at for name in fields}
        return True

    async def change_older(self, user_id: str, at: datetime, **fields: str) -> None:
        for name, value in fields.items():
            if self.times.get((user_id, name), EPOCH) < at:
                await self.change(user_id, at, **{name: value})

    async def languages(self, users: Sequence[str]) -> dict[str, str]:
        return {who: profile.language for who, profile in (await self.profiles(users)).items()}

    # rooms

    async def add_direct_room(self, room: str, members: tuple[str, str], at: datetime) -> None:
        del at
        await self._turn("add_direct_room")
        if frozenset(members) in self.pairs:
            raise ConflictError
        self.pairs[frozenset(members)] = room
        self.found(room, members)

    async def direct_room(self, members: tuple[str, str]) -> str | None:
        await self._turn("direct_room")
        return self.pairs.get(frozenset(members))

    async def remove_direct_room(self, room: str, members: tuple[str, str]) -> None:
        await self._turn("remove_direct_room")
        if self.pairs.pop(frozenset(members), None):
            del self.documents[room], self.events[room]

    # deleting

    async def bury(self, gone: str, at: datetime) -> None:
        del at
        await self._turn("bury")
        self.graves.add(gone)

    async def remove_person(self, user_id: str) -> None:
        await self._turn("remove_person")
        self.people.pop(user_id, None)
        self.times = {key: at for key, at in self.times.items() if key[0] != user_id}
        await self._turn("remove_devices")
        self.devices.pop(user_id, None)

    async def rooms_to_erase(self, user_id: str) -> list[str]:
        await self._turn("rooms_to_erase")
        return [room for room, user in self.members if user == user_id]

    async def rewrite(self, events: Sequence[AnyEvent]) -> None:
        for event in events:
            await self._turn("rewrite")
            self.events[event.room][event.rev - 1] = event

    async def erased(self, room: str, user_id: str, gone: str) -> None:
        await self._turn("erase_preview")
        document = self.documents.get(room)
        if document is not None:
            if document.preview is not None and document.preview.sender in {user_id, gone}:
                self.documents[room] = replace(document, preview=None)
            await self._turn("erase_pair")
            self.pairs = {pair: one for pair, one in self.pairs.items() if one != room}
        await self._turn("erase_member")
        self.members.pop((room, user_id), None)

    async def forget(self, user: str) -> None:
        await self._turn("forget")
        self.online.discard(user)


STEPS = 36
"""How many writes the deletion of Ana from two rooms is; the last of them is of Redis."""


class Killed(BaseException):
    """The process ended here."""


def chats(store: Any, rooms: Rooms) -> Chats:
    room_list = RoomList(store, rooms.directory)
    return Chats(store, rooms.directory, rooms.cache, room_list)


def quiet() -> LossyBus:
    return LossyBus(random.Random(0), loses=0.0, doubles=0.0)  # noqa: S311


def pod(store: Any, log: SharedLog | None = None) -> tuple[Rooms, Deletion]:
    rooms = Rooms(store, LossyBroadcast(quiet()), Channels(), job=lambda _: None, quota=Quota())
    return rooms, Deletion(store, rooms, revocations(log), store)


async def lived_in(store: Any, rooms: Rooms) -> None:
    """Give Ana a profile, a device, and messages in each of her rooms."""
    people = Profiles(store, changed=lambda _: None)
    await people.confirm_account(user_id="ana", nickname="Ana", language="es", device=DEVICE)
    for room in list(store.documents):
        for number in range(3):
            mine, _ = await rooms.appending.send(
                room, "ana", Draft(f"secret {number}", f"a{number}", "es")
            )
            await rooms.appending.send(
                room, f"friend-{room}", Draft(f"kept {number}", f"{number}", "en")
            )
            await rooms.appending.translated(
                result(
                    message=mine.message_id,
                    text_version=1,
                    target="en",
                    outcome="translated",
                    text=f"secret in English {number}",
                    provider="p",
                    reason=None,
                )
            )
        await store.raise_positions({(room, "ana"): Position(read=3)})
    await rooms.cache.flush(store.documents)


def left_of(store: PeopleStore, log: SharedLog | None = None) -> list[str]:
    """Return what can still be found of Ana."""
    text = store.everything() + str(log.entries if log else "")
    # In a placeholder, ids and her friends' names there is no Ana.
    return [word for word in ("'ana'", "ana_", "Ana", "of ana", "secret") if word in text]


async def test_nothing_is_left_and_the_other_keeps_a_room_that_holds() -> None:
    store, log = PeopleStore("r", "q"), SharedLog()
    rooms, deletion = pod(store, log=log)
    await lived_in(store, rooms)
    assert store.documents["r"].preview is not None
    revs = {room: [event.rev for event in events] for room, events in store.events.items()}
    await deletion.delete("ana", EPOCH)
    assert left_of(store, log) == []
    assert store.graves == {GONE}
    for room, events in store.events.items():
        assert [event.rev for event in events] == [*revs[room], len(revs[room]) + 1]
        own = [event.text for event in events if isinstance(event, Sent) and not event.erased]
        assert own == ["kept 0", "kept 1", "kept 2"]
        assert set(store.documents[room].view.members) == {GONE, f"friend-{room}"}
        assert {user for where, user in store.members if where == room} == {
            GONE, f"friend-{room}",
        }  # fmt: skip
        # What is cached is what the log gives.
        assert store.documents[room].view == fold_room(RoomView(room=room), events)


async def test_resuming_over_a_deletion_leaves_no_hole() -> None:
    store = PeopleStore("r")
    rooms, deletion = pod(store)
    await lived_in(store, rooms)
    await deletion.delete("ana", EPOCH)
    for since in (0, 5):
        reader = Reader("friend-r", "en")
        joined = await rooms.live.join("r", reader.user, since)
        await rooms.live.attach("r", reader, joined.since)
        assert reader.revs() == list(range(since + 1, len(store.events["r"]) + 1))
        words = [one for one in reader.events() if one["kind"] == "message"]
        assert all(
            (one["sender_id"], one["content"]) == (GONE, "") for one in words if one.get("erased")
        )
        assert sum(1 for one in words if one.get("erased")) == (3 if since == 0 else 1)


@pytest.mark.parametrize("steps", range(STEPS + 1))
async def test_killed_anywhere_the_next_delivery_finishes(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(deletion_module, "PAGE_EVENTS", 4)
    store, log = PeopleStore("r", "q"), SharedLog()
    first, deletion = pod(store, log=log)
    await lived_in(store, first)
    left = steps

    def dies(name: str) -> bool:
        nonlocal left
        if name in {"room", "after"}:  # reading changes nothing
            return False
        left -= 1
        if left < 0:
            raise Killed
        return False

    store.fails = dies
    if steps < STEPS:
        with pytest.raises(Killed):
            await deletion.delete("ana", EPOCH)
        assert left_of(store) or store.online
    store.fails = lambda _: False
    _, again = pod(store, log)
    await again.delete("ana", EPOCH)
    assert left_of(store, log) == []
    done = store.everything()
    await again.delete("ana", EPOCH)
    assert store.everything() == done


@pytest.mark.parametrize("seed", range(20))
async def test_what_happens_during_the_deletion_is_erased_too(  # noqa: C901 (four actors)
    seed: int,
) -> None:
    chance = random.Random(seed)  # noqa: S311 (so that a failure can be repeated)
    store = PeopleStore("r")
    pods = [pod(store) for _ in range(3)]
    await lived_in(store, pods[0][0])
    original = [event for event in store.events["r"] if isinstance(event, Sent)]

    async def act(rooms: Rooms, name: str) -> None:
        match chance.randrange(4):
            case 0:
                await rooms.appending.send("r", "ana", Draft("secret late", name, "es"))
            case 1:
                await rooms.appending.translated(
                    result(
                        message=chance.choice(original).message_id,
                        text_version=1,
                        target=name,
                        outcome="translated",
                        text="secret late",
                        provider="p",
                        reason=None,
                    )
                )
            case 2:
                await store.raise_positions({("r", "ana"): Position(read=99)})
            case _:
                await rooms.cache.flush(["r"])

    async def meddle(rooms: Rooms) -> None:
        for number in range(12):
            with contextlib.suppress(NoSuchRoomError, ReceiverDeletedError):
                await act(rooms, f"{id(rooms)}.{number}")
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)

    async def delete() -> None:
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        await pods[2][1].delete("ana", EPOCH)

    await asyncio.gather(*(meddle(rooms) for rooms, _ in pods), delete())
    assert secrets_in(store.events["r"]) == []
    for rooms, _ in pods:
        await rooms.cache.flush(["r"])
    assert "'ana'" not in str([store.events, store.documents, store.members])
    assert "secret" not in str(store.documents)
    assert store.documents["r"].view.members.keys() == {GONE, "friend-r"}


async def test_a_translation_that_was_on_its_way_is_dropped() -> None:
    store = PeopleStore("r")
    (rooms, deletion), (others, _) = pod(store), pod(store)
    await lived_in(store, rooms)
    read = store.at

    async def overtaken(room: str, rev: int) -> AnyEvent | None:
        event = await read(room, rev)
        await deletion.delete("ana", EPOCH)
        return event

    store.at = overtaken  # type: ignore[method-assign]
    for _ in range(2):  # and again, when the message is erased already
        assert not await others.appending.translated(
            result(
                message="r.2",
                text_version=1,
                target="de",
                outcome="translated",
                text="secret late",
                provider="p",
                reason=None,
            )
        )
    assert left_of(store) == []


def secrets_in(log: Sequence[AnyEvent]) -> list[AnyEvent]:
    """Return the events that still tell what Ana said."""
    hers = {event.rev for event in log if isinstance(event, Sent) and event.sender == GONE}
    return [
        event
        for event in log
        if (isinstance(event, Sent) and "secret" in event.text)
        or (isinstance(event, Translated) and event.about in hers and event.text)
    ]


@pytest.mark.parametrize("steps", range(40))
async def test_two_who_delete_at_once_both_go(steps: int) -> None:
    store = PeopleStore("r")
    (rooms, one), (_, other) = pod(store), pod(store)
    await lived_in(store, rooms)

    async def later() -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        await other.delete("friend-r", EPOCH)

    await asyncio.gather(one.delete("ana", EPOCH), later())
    assert left_of(store) == []
    assert "friend" not in store.everything()
    assert all(map(is_placeholder, store.documents["r"].view.members))


async def test_an_unavailable_store_is_reported_and_nothing_is_acknowledged() -> None:
    store = PeopleStore("r")
    rooms, deletion = pod(store)
    await lived_in(store, rooms)
    store.fails = lambda name: name == "erase_member"
    with pytest.raises(StoreUnavailableError):
        await deletion.delete("ana", EPOCH)
    store.fails = lambda _: False
    await deletion.delete("ana", EPOCH)
    assert left_of(store) == []


# What the others see


async def test_other_users_are_notified_on_every_pod_and_can_no_longer_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        await say(it.pods[0], "ana", "1")
        new, old = Reader("ben", "en"), Reader("ben", "en", protocol=1)
        await enter(it.pods[0], new)
        await enter(it.pods[1], old)
        assert it.pods[1].live.rooms_of("ana") == {ROOM}
        await it.pods[0].appending.depart(ROOM, "ana")
        await it.pods[0].appending.depart(ROOM, "ana")
        await eventually(lambda: new.events("receiver_info") and old.events("receiver_info"))
        (event,) = [one for one in new.events() if one["kind"] == "members"]
        assert event["changes"] == [
            {"user_id": "ana", "role": None}, {"user_id": GONE, "role": "member"},
        ]  # fmt: skip
        told = deleted_profile(GONE).payload()
        assert told["nickname"] == "deleted user"
        for reader in (new, old):
            assert reader.events("receiver_info") == [told]
        assert old.events("receiver_online") == [{"status": "offline"}]
        assert new.events("receiver_online") == [
            {"user_id": GONE, "status": "offline", "last_seen_at": None}
        ]
        assert it.pods[1].live.rooms_of("ana") == frozenset()
        assert it.pods[1].live.people() == {GONE, "ben"}
        for rooms in it.pods:
            with pytest.raises(ReceiverDeletedError):
                await say(rooms, "ben", "2")
            with pytest.raises(NoSuchRoomError):
                await say(rooms, "ana", "3")
        position = await it.pods[1].positions.acknowledge(ROOM, "ben", Position(read=1))
        assert position.read == 1


# The log


def erased(log: list[AnyEvent]) -> list[AnyEvent]:
    theirs = {one.rev for one in log if isinstance(one, Sent) and one.sender in {"ana", GONE}}
    return [event.erased_for("ana", theirs) or event for event in log]


@given(logs())
def test_an_erased_log_reveals_nothing_and_folds_as_before(log: list[AnyEvent]) -> None:
    after = erased(log)
    for event in after:
        assert "ana" not in json.dumps(event.payload())
        assert "ana" not in event.model_dump_json()
    assert [(event.rev, event.kind, event.at) for event in after] == [
        (event.rev, event.kind, event.at) for event in log
    ]
    before = fold_room(RoomView(room="r"), log).members
    folded = fold_room(RoomView(room="r"), after).members
    assert folded == {GONE if user == "ana" else user: one for user, one in before.items()}
    assert erased(after) == after
    kept = [one for one in fold_messages([], after) if one.sender != GONE]
    assert kept == [_renamed(one) for one in fold_messages([], log) if one.sender != "ana"]


def _renamed(message: MessageView) -> MessageView:
    """Return a message that names the placeholder instead of Ana."""

    def names(users: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(GONE if user == "ana" else user for user in users)

    reactions = {emoji: names(users) for emoji, users in message.reactions.items()}
    mentions = names(message.mentions)
    return message.model_copy(update={"mentions": mentions, "reactions": reactions})


# Accounts that come late, and change


@pytest.fixture
def store() -> PeopleStore:
    return PeopleStore()


@pytest.fixture
def changed() -> list[str]:
    return []


@pytest.fixture
def people(store: Any, changed: list[str]) -> Profiles:
    return Profiles(store, changed=changed.append)


async def confirm(people: Profiles, user: str = "ana") -> str | None:
    return await people.confirm_account(
        user_id=user,
        nickname=user.title(),
        language="es",
        device=Device(f"hash of {user}", None),
    )


async def test_a_sign_up_that_comes_after_the_deletion_makes_nobody(
    store: PeopleStore, people: Profiles
) -> None:
    assert await confirm(people)
    _, deletion = pod(store)
    await deletion.delete("ana", EPOCH)
    assert await confirm(people) is None
    await people.set_devices("ana", 1, [DEVICE])
    await people.profile_changed("ana", EPOCH, nickname="Ana", language="es")
    assert left_of(store) == []
    assert await confirm(people, "ben")


@pytest.mark.parametrize("steps", range(40))
async def test_a_sign_up_during_the_deletion_creates_no_profile(
    store: PeopleStore, people: Profiles, steps: int
) -> None:
    _, deletion = pod(store)

    async def later() -> None:
        for _ in range(steps % 8):
            await asyncio.sleep(0)
        await confirm(people)

    async def delete() -> None:
        for _ in range(steps // 8):
            await asyncio.sleep(0)
        await deletion.delete("ana", EPOCH)

    await asyncio.gather(later(), delete())
    assert left_of(store) == []


@pytest.mark.parametrize("steps", range(60))
async def test_a_chat_created_during_the_deletion_keeps_no_user(
    store: PeopleStore, people: Profiles, steps: int
) -> None:
    tag = await confirm(people) or ""
    await confirm(people, "ben")
    _, deletion = pod(store)
    opened = chats(store, pod(store)[0])

    async def open_chat() -> None:
        for _ in range(steps % 6):
            await asyncio.sleep(0)
        try:
            await opened.open_direct("ben", tag)
        except (NoSuchUserError, NoSuchRoomError):
            return

    async def delete() -> None:
        for _ in range(steps // 6):
            await asyncio.sleep(0)
        await deletion.delete("ana", EPOCH)

    await asyncio.gather(open_chat(), delete())
    assert left_of(store) == []


async def test_the_newest_change_wins_field_by_field(
    store: PeopleStore, people: Profiles, changed: list[str]
) -> None:
    await confirm(people)

    def at(second: int) -> datetime:
        return datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC)

    await people.profile_changed("ana", at(2), nickname="Two", language=None)
    await people.profile_changed("ana", at(3), nickname=None, language="PT-br")
    await people.profile_changed("ana", at(1), nickname="One", language="de")
    await people.profile_changed("ana", at(2), nickname="Two", language=None)  # again
    profile = store.people["ana"]
    assert (profile.nickname, profile.language) == ("Two", "pt-BR")
    # Changed here, by the person, is newer than what was on its way.
    await people.change("ana", nickname="Mine")
    await people.profile_changed("ana", at(4), nickname="Four", language=None)
    assert store.people["ana"].nickname == "Mine"
    assert set(changed) == {"ana"}


async def test_a_change_that_comes_before_its_account_waits(people: Profiles) -> None:
    with pytest.raises(NoProfileError):
        await people.profile_changed("ana", EPOCH, nickname="Ana", language=None)


async def test_a_placeholder_has_a_profile_and_is_nobodys_contact(
    store: PeopleStore, people: Profiles
) -> None:
    assert (await people.profile(GONE)).nickname == "deleted user"

    async def contacts(_: str) -> set[str]:
        return {GONE, "ben"}

    store.contacts = contacts  # type: ignore[attr-defined]
    assert await people.contacts("cleo") == {"ben"}
