"""Lists and pages, read from the log and from a cache that may be behind it."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ashchat_chat.rooms import chats as chats_module
from ashchat_chat.rooms import room_list as room_list_module
from ashchat_chat.rooms.appending import Draft
from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.rooms.chats import Chats
from ashchat_chat.rooms.errors import NoSuchRoomError
from ashchat_chat.rooms.history import History
from ashchat_chat.rooms.ports import Position, Profile
from ashchat_chat.rooms.room_list import RoomList
from chat_world import (
    EPOCH,
    ROOM,
    Channels,
    LossyBroadcast,
    LossyBus,
    MemoryStore,
    Quota,
    result,
    say,
    world,
)


class ProfileStore(MemoryStore):
    """The logs, and users who have profiles."""

    async def profiles(self, user_ids: list[str]) -> dict[str, Profile]:
        await self._turn("profiles")
        return {user: Profile(user, user.title(), f"{user}_x", "en") for user in user_ids}


def pod(store: Any) -> tuple[Rooms, Chats]:
    bus = LossyBus(random.Random(0), loses=0.0, doubles=0.0)  # noqa: S311
    rooms = Rooms(store, LossyBroadcast(bus), Channels(), job=lambda _: None, quota=Quota())
    return rooms, Chats(store, rooms.directory, rooms.cache, RoomList(store, rooms.directory))


@pytest.mark.parametrize("flushed", [True, False])
async def test_unread_counts_do_not_depend_on_what_is_cached(flushed: bool) -> None:  # noqa: FBT001
    """Finding 13: 200 unread messages were 75 after their translations were projected."""
    store = ProfileStore({ROOM: ("ana", "ben")}, {"ana": "es", "ben": "en"})
    rooms, chats = pod(store)
    for number in range(200):
        event, _ = await rooms.appending.send(ROOM, "ana", Draft("hola", str(number), "es"))
        await rooms.appending.translated(
            result(
                message=event.message_id, text_version=1, target="en", outcome="translated",
                text="hi", provider="p", reason=None,
            )
        )  # fmt: skip
    if flushed:
        await rooms.cache.flush([ROOM])
    else:
        await rooms.cache.settle_members(await rooms.directory.get(ROOM))
    ((listed,), _) = await chats.rooms("ben", after=None, limit=10)
    assert listed.summary.unread("ben") == 200
    assert listed.summary.preview is not None
    assert (listed.name, listed.summary.preview.n) == ("Ana", 200)
    pending = await chats.pending("ben", "en")
    assert [one.n for one in pending] == list(range(101, 201))
    assert {one.text for one in pending} == {"hi"}
    await store.raise_positions({(ROOM, "ben"): Position(read=150, notified=160)})
    ((listed,), _) = await chats.rooms("ben", after=None, limit=10)
    assert listed.summary.unread("ben") == 50
    assert [one.n for one in await chats.pending("ben", "en")] == list(range(161, 201))


async def test_the_list_of_chats_costs_a_bounded_number_of_queries_and_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Finding 5: a list cost what all histories cost."""
    monkeypatch.setattr(chats_module, "CHATS_CHARS", 500_000)
    store = ProfileStore({f"r{n:02}": ("ana", f"u{n}") for n in range(60)}, {})
    rooms, chats = pod(store)
    for room in store.documents:
        for number in range(5):
            await rooms.appending.send(room, "ana", Draft("x" * 8_000, str(number), "es"))
    await rooms.cache.flush(store.documents)
    store.called.clear()
    found = await chats.chats("ana")
    assert len(found) == chats_module.CHATS_MAX
    messages = [message for chat in found for message in chat.messages]
    assert 0 < sum(len(message.text) for message in messages) <= 500_000
    assert len(store.called) <= 5 + 2 * (len(found) // chats_module.CHATS_AT_ONCE)
    assert store.called.count("memberships") == 1


async def test_rooms_are_paged_each_once_most_recently_active_first() -> None:
    store = ProfileStore({f"r{n:02}": ("ana", f"u{n}") for n in range(25)}, {})
    rooms, chats = pod(store)
    for room in store.documents:
        await rooms.directory.get(room)
    await rooms.cache.flush(store.documents)
    for number, room in enumerate(store.documents):
        # Some were active at the same time.
        store.members[room, "ana"].active_at = EPOCH + timedelta(seconds=number // 3)
    listed: list[str] = []
    cursor = None
    while True:
        store.called.clear()
        page, cursor = await chats.rooms("ana", after=cursor, limit=7)
        assert sorted(store.called) == ["after", "memberships", "profiles", "rooms"]
        listed += [one.summary.room for one in page]
        if cursor is None:
            break
    assert listed == sorted(listed, key=lambda room: (-(int(room[1:]) // 3), room))
    assert len(set(listed)) == 25


async def test_rooms_far_behind_their_logs_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_list_module, "TAIL_MAX_EVENTS", 10)
    store = ProfileStore({f"r{n}": ("ana", f"u{n}") for n in range(4)}, {})
    rooms, _ = pod(store)
    for room in store.documents:
        await rooms.directory.get(room)
    await rooms.cache.flush(store.documents)
    for room in store.documents:
        for number in range(8):
            await rooms.appending.send(room, "ana", Draft("x", str(number), "es"))
    _, other = pod(store)
    page, _ = await other.rooms("ana", after=None, limit=10)
    assert {one.summary.view.n for one in page} == {8}
    assert {one.summary.preview.n for one in page if one.summary.preview} == {8}


async def filled(monkeypatch: pytest.MonkeyPatch, use: Callable[[History], Any]) -> Any:
    async with world(monkeypatch) as it:
        for number in range(1, 11):
            at = EPOCH + timedelta(minutes=number)
            it.pods[0].appending._now = lambda at=at: at  # type: ignore[misc]
            await say(it.pods[0], "ana", str(number))
        return await use(History(it.store, it.pods[0].directory))


@pytest.mark.parametrize(
    ("page", "numbers", "more"),
    [
        (lambda it: it.before(ROOM, "ben", None, 3), [8, 9, 10], (True, False)),
        (lambda it: it.before(ROOM, "ben", 3, 5), [1, 2], (False, True)),
        (lambda it: it.before(ROOM, "ben", 1, 5), [], (False, True)),
        (lambda it: it.after(ROOM, "ben", 0, 2), [1, 2], (False, True)),
        (lambda it: it.after(ROOM, "ben", 8, 5), [9, 10], (True, False)),
        (lambda it: it.after(ROOM, "ben", 10, 5), [], (True, False)),
        (lambda it: it.around(ROOM, "ben", 5, 3), [4, 5, 6], (True, True)),
        (lambda it: it.around(ROOM, "ben", 1, 4), [1, 2], (False, True)),
        (lambda it: it.at(ROOM, "ben", EPOCH + timedelta(minutes=4), 2), [4, 5], (True, True)),
        (lambda it: it.at(ROOM, "ben", EPOCH, 2), [1, 2], (False, True)),
        (lambda it: it.at(ROOM, "ben", EPOCH + timedelta(days=1), 2), [], (True, False)),
    ],
)
async def test_pages(
    monkeypatch: pytest.MonkeyPatch,
    page: Callable[[History], Any],
    numbers: list[int],
    more: tuple[bool, bool],
) -> None:
    found = await filled(monkeypatch, page)
    assert [message.n for message in found.messages] == numbers
    assert (found.more_before, found.more_after) == more
    assert (found.rev, found.n) == (11, 10)


async def test_strangers_get_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSuchRoomError):
        await filled(monkeypatch, lambda it: it.before(ROOM, "eve", None, 3))
