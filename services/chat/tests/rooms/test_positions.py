"""Positions: stored and reported without events; they only rise, and never beyond the log."""

import asyncio

import pytest

from ashchat_chat.rooms import positions as positions_module
from ashchat_chat.rooms.ports import Position, StoreUnavailableError
from chat_world import ROOM, Reader, enter, eventually, say, world


async def test_acknowledging_makes_no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding 14: acknowledgements raised the head, which could be acknowledged again."""
    async with world(monkeypatch, pods=2) as it:
        await say(it.pods[0], "ana", "1")
        head = len(it.store.events[ROOM])
        for number in range(20):
            pod, user = it.pods[number % 2], ("ana", "ben")[number % 2]
            await pod.positions.acknowledge(ROOM, user, Position(read=99))
        assert len(it.store.events[ROOM]) == head
        assert it.store.members[ROOM, "ben"].position == Position(read=1, delivered=1)


async def test_positions_rise_up_to_the_newest_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch) as it:
        for number in range(3):
            await say(it.pods[0], "ana", str(number))

        async def read(n: int) -> int:
            await it.pods[0].positions.acknowledge(ROOM, "ben", Position(read=n))
            return it.store.members[ROOM, "ben"].position.read

        assert [await read(n) for n in (2, 1, 99)] == [2, 2, 3]
        # Sending is reading.
        await eventually(lambda: it.store.members[ROOM, "ana"].position.read == 3)


async def test_many_acknowledgements_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch) as it:
        await say(it.pods[0], "ana", "1")
        await eventually(lambda: it.store.members[ROOM, "ana"].position.read == 1)
        it.store.called.clear()
        position = Position(read=1)
        await asyncio.gather(
            *(it.pods[0].positions.acknowledge(ROOM, "ben", position) for _ in range(50))
        )
        assert it.store.called.count("raise_positions") == 1


async def test_receipts_reach_every_pod_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, pods=2) as it:
        ana, ben = Reader("ana", "es"), Reader("ben", "en")
        await enter(it.pods[0], ana)
        await enter(it.pods[1], ben)
        await say(it.pods[0], "ana", "1")
        await eventually(lambda: ben.events("receipt"))
        await it.pods[1].positions.acknowledge(ROOM, "ben", Position(delivered=1))
        await it.pods[1].positions.acknowledge(ROOM, "ben", Position(read=1))
        await eventually(lambda: len(ana.events("receipt")) == 3)
        assert ana.events("receipt") == [
            {"user_id": "ana", "delivered": 1, "read": 1},
            {"user_id": "ben", "delivered": 1, "read": 0},
            {"user_id": "ben", "delivered": 1, "read": 1},
        ]
        assert ben.events("receipt") == ana.events("receipt")


async def test_in_a_large_room_receipts_go_to_the_own_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(positions_module, "RECEIPTS_MAX_MEMBERS", 1)
    async with world(monkeypatch) as it:
        ana, ben = Reader("ana", "es"), Reader("ben", "en")
        for reader in (ana, ben):
            await enter(it.pods[0], reader)
        await say(it.pods[0], "ana", "1")
        await it.pods[0].positions.acknowledge(ROOM, "ben", Position(read=1))
        await eventually(lambda: ana.events("receipt") and ben.events("receipt"))
        assert {one["user_id"] for one in ana.events("receipt")} == {"ana"}
        assert {one["user_id"] for one in ben.events("receipt")} == {"ben"}


async def test_a_store_that_is_away_is_reported_and_the_position_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        await say(it.pods[0], "ana", "1")
        it.store.fails = lambda name: name == "raise_positions"
        with pytest.raises(StoreUnavailableError):
            await it.pods[0].positions.acknowledge(ROOM, "ben", Position(read=1))
        it.store.fails = lambda _: False
        await eventually(lambda: it.store.members[ROOM, "ben"].position.read == 1)


async def test_a_pod_that_joins_later_knows_the_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, pods=2) as it:
        await say(it.pods[0], "ana", "1")
        await it.pods[0].positions.acknowledge(ROOM, "ben", Position(read=1))
        joined = await it.pods[1].live.join(ROOM, "ben", None)
        assert (joined.view.n, joined.read) == (1, 1)
