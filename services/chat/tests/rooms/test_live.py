"""Rooms over a store that fails and a fan-out that loses: order, no loss, nothing twice."""

import asyncio
import random

import pytest

from ashchat_chat.rooms import appending as appending_module
from ashchat_chat.rooms import live as live_module
from ashchat_chat.rooms.appending import Draft
from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.rooms.errors import NoSuchMessageError, NoSuchRoomError
from ashchat_chat.rooms.ports import Position, StoreUnavailableError
from chat_world import ROOM, Reader, enter, eventually, result, say, settled, world


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
        # The id belongs to the sender: another user may have the same.
        assert (await say(it.pods[0], "ben", "1"))[1]


async def test_an_insert_whose_answer_was_lost_is_not_done_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        lost = iter([True])
        await it.pods[0].directory.get_for("ana", ROOM)
        it.store.forgets = lambda: next(lost, False)
        event, _ = await say(it.pods[0], "ana", "1")
        assert it.store.sent(ROOM) == [event]


async def test_a_store_that_stays_unavailable_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending_module, "APPEND_SECONDS", 0.05)
    async with world(monkeypatch) as it:
        reader = Reader("ben", "en")
        await enter(it.pods[0], reader)
        it.store.fails = lambda _: True
        with pytest.raises(StoreUnavailableError):
            await say(it.pods[0], "ana", "1")
        it.store.fails = lambda _: False
        await say(it.pods[0], "ana", "1")
        assert [event["mobile_ref_id"] for event in reader.events()] == ["1"]


async def test_strangers_and_unknown_rooms_get_the_same_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        for room, user in ((ROOM, "eve"), ("other", "ana")):
            with pytest.raises(NoSuchRoomError):
                await it.pods[0].live.join(room, user, None)
            with pytest.raises(NoSuchRoomError):
                await it.pods[0].appending.send(room, user, Draft("x", "1", "en"))
            with pytest.raises(NoSuchRoomError):
                await it.pods[0].positions.acknowledge(room, user, Position(read=1))
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
                    except StoreUnavailableError:
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
        await it.pods[0].directory.get_for("ben", ROOM)
        writing = asyncio.create_task(write())
        while not over.is_set() or since < len(it.store.events[ROOM]):
            rooms, reader = chance.choice(it.pods), Reader("ben", "en")
            await enter(rooms, reader, since)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(chance.random() * 0.003)
            rooms.live.detach(ROOM, reader)
            heard += reader.revs()
            since = heard[-1] if heard else since
        await writing
        assert heard == list(range(2, len(it.store.events[ROOM]) + 1))


async def test_a_gap_that_is_too_long_or_impossible_is_a_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_module, "RESUME_MAX_EVENTS", 5)
    async with world(monkeypatch) as it:
        for number in range(8):
            await say(it.pods[0], "ana", str(number))
        for since in (0, 10, 1_000_000):
            joined = await it.pods[0].live.join(ROOM, "ben", since)
            assert (joined.reset, joined.since, joined.rev) == (True, 9, 9)
        assert (await it.pods[0].live.join(ROOM, "ben", 4)).reset is False


async def test_only_readers_of_a_language_get_its_translation_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        english, spanish = Reader("ben", "en"), Reader("ana", "es")
        await enter(it.pods[0], english)
        await enter(it.pods[1], spanish)
        event, _ = await say(it.pods[0], "ana", "1")
        answer = result(
            message=event.message_id, text_version=1, target="en",
            outcome="translated", text="hi", provider="p", reason=None,
        )  # fmt: skip
        assert await asyncio.gather(
            *(it.pods[number % 2].appending.translated(answer) for number in range(4))
        ) in ([True, False, False, False], [False, True, False, False])
        await settled([english], 3)
        assert [one["kind"] for one in english.events()] == ["message", "translation"]
        await eventually(spanish.events)
        assert [one["kind"] for one in spanish.events()] == ["message"]


async def test_a_translation_of_an_unknown_message_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        await say(it.pods[0], "ana", "1")
        for message in ("", "nowhere.2", f"{ROOM}.1", f"{ROOM}.99", "nonsense"):
            with pytest.raises(NoSuchMessageError):
                await it.pods[0].appending.translated(
                    result(
                        message=message,
                        text_version=1,
                        target="en",
                        outcome="failed",
                        text=None,
                        provider=None,
                        reason="x",
                    )
                )


async def test_a_client_of_the_original_gets_the_translation_and_its_sender_the_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        rooms = it.pods[0]
        ana, ben = Reader("ana", "es", protocol=1), Reader("ben", "en", protocol=1)
        await enter(rooms, ana)
        await enter(rooms, ben)
        event, _ = await say(rooms, "ana", "1", "hola")
        assert ben.events("receive_message") == []
        await rooms.appending.translated(
            result(
                message=event.message_id,
                text_version=1,
                target="en",
                outcome="translated",
                text="hi",
                provider="p",
                reason=None,
            )
        )
        told = {"chat_id": ROOM, "content": "hi", "sender_id": "ana"}
        assert ben.events("receive_message") == [told]
        assert ana.events("receive_message") == []
        # A frame that was queued may be lost with its connection: it is not read yet.
        await asyncio.sleep(0.05)
        assert it.store.members[ROOM, "ben"].position.read == 0
        assert ana.events("message_sent") == []
        ben.receive()
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


async def test_who_left_is_not_served_and_nobodys_contact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        live = it.pods[0].live
        readers = [Reader("ana", "es"), Reader("ben", "en", protocol=1)]
        for reader in readers:
            await enter(it.pods[0], reader)
        live.detach(ROOM, readers[0])
        assert live.rooms_of("ben") == {ROOM}
        live.detach(ROOM, readers[1])
        live.detach(ROOM, readers[1])
        assert live.rooms_of("ben") == frozenset()
        assert live.people() == set()
