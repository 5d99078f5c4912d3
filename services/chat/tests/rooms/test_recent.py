"""The recent events: a contiguous end of each log, bounded in bytes."""

import pytest

from ashchat_chat.rooms import recent as recent_module
from ashchat_chat.rooms.events import AnyEvent, Sent
from ashchat_chat.rooms.recent import RecentEvents
from chat_world import EPOCH, ROOM, Reader, enter, say, settled, world


def sent(room: str, rev: int, text: str = "hola") -> AnyEvent:
    return Sent(
        room=room,
        rev=rev,
        n=rev,
        at=EPOCH,
        sender="ana",
        client_id=str(rev),
        text=text,
        language="es",
    )


def revs(events: list[AnyEvent] | None) -> list[int] | None:
    return None if events is None else [event.rev for event in events]


def test_what_is_kept_is_an_answer_and_what_is_not_is_no_answer() -> None:
    recent = RecentEvents()
    for rev in range(5, 9):
        recent.add(sent("a", rev))
    assert [revs(recent.after("a", rev)) for rev in (3, 4, 6, 8)] == [
        None,
        [5, 6, 7, 8],
        [7, 8],
        [],
    ]
    assert recent.after("b", 0) is None
    recent.forget("a")
    assert (recent.after("a", 8), recent.size) == (None, 0)


def test_a_hole_begins_again() -> None:
    recent = RecentEvents()
    recent.add(sent("a", 1))
    recent.add(sent("a", 3))
    assert (recent.after("a", 1), revs(recent.after("a", 2))) == (None, [3])


def test_bytes_are_bounded_and_the_least_recently_active_room_goes_first() -> None:
    one = RecentEvents()
    one.add(sent("a", 1))
    recent = RecentEvents(max_bytes=4 * one.size)
    for rev in (1, 2):
        recent.add(sent("a", rev))
        recent.add(sent("b", rev))
    recent.add(sent("b", 3))
    assert (recent.after("a", 0), revs(recent.after("a", 1)), revs(recent.after("b", 0))) == (
        None, [2], [1, 2, 3],
    )  # fmt: skip
    recent.add(sent("b", 4, "x" * 100_000))
    assert recent.size == 0


def test_a_room_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_module, "RECENT_EVENTS", 3)
    recent = RecentEvents()
    for rev in range(1, 10):
        recent.add(sent("a", rev))
    assert revs(recent.after("a", 6)) == [7, 8, 9]
    assert recent.after("a", 5) is None


async def test_clients_that_come_back_at_once_cost_reads_of_rooms_and_not_of_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        for number in range(100):
            await say(it.pods[0], "ana", str(number))
        it.store.called.clear()
        readers = [Reader("ben", "en") for _ in range(500)]
        for number, reader in enumerate(readers):
            await enter(it.pods[number % 2], reader, since=1 + number % 100)
        await settled(readers, 101)
        for number, reader in enumerate(readers):
            assert reader.revs() == list(range(2 + number % 100, 102))
        # The second pod loads the room: its document, and its log from that on. The first reader
        # on each pod reads the members' positions.
        reads = {name: count for name, count in it.store.calls.items() if name[:5] != "raise"}
        assert reads == {"room": 1, "after": 1, "positions": 2}


async def test_what_a_deleted_user_wrote_is_not_replayed_from_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        reader = Reader("ben", "en")
        await enter(it.pods[1], reader)
        await say(it.pods[0], "ana", "1", "secret")
        await it.pods[0].appending.depart(ROOM, "ana")
        await settled([reader], 3)
        for rooms in it.pods:
            assert rooms.directory.recent.after(ROOM, 1) is None
            assert revs(rooms.directory.recent.after(ROOM, 2)) == [3]
