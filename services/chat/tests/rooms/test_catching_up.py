"""What is committed reaches every connected member, and is read only where it may be missing."""

import asyncio

import pytest

from ashchat_chat.rooms import appending as appending_module
from ashchat_chat.rooms import directory as directory_module
from ashchat_chat.rooms.ports import StoreUnavailableError
from chat_world import PEOPLE, ROOM, Reader, World, enter, eventually, say, settled, world


async def two_readers(it: World) -> list[Reader]:
    readers = [Reader("ana", "es"), Reader("ben", "en")]
    for rooms, reader in zip(it.pods, readers, strict=True):
        await enter(rooms, reader)
    return readers


async def test_events_of_other_pods_cost_no_reads_and_idle_rooms_none_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        readers = await two_readers(it)
        it.store.called.clear()
        for number in range(20):
            await say(it.pods[number % 2], "ana", str(number))
            await asyncio.sleep(0.004)
        await settled(readers, 21)
        await asyncio.sleep(0.1)
        assert it.store.calls["after"] == 0
        assert it.store.calls["insert"] == 20


async def test_joining_a_room_that_is_in_memory_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        await enter(it.pods[0], Reader("ana", "es"))
        it.store.called.clear()
        for _ in range(50):
            await enter(it.pods[0], Reader("ben", "en"))
        assert not it.store.calls["after"]


async def test_a_pod_that_dies_between_commit_and_publication(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        readers = await two_readers(it)
        it.bus.hides = True
        await say(it.pods[0], "ana", "1")
        await asyncio.sleep(0.02)
        assert readers[1].revs() == []
        # Its heartbeat ended.
        it.pods[1].catching_up.missed(lambda _: True)
        await settled(readers[1:], 2)


async def test_a_repetition_is_published_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding 12: the first pod died before it published; the client repeats at another."""
    async with world(monkeypatch, pods=3) as it:
        reader = Reader("ben", "en")
        await enter(it.pods[2], reader)
        it.bus.hides = True
        await say(it.pods[0], "ana", "1")
        it.bus.hides = False
        _, fresh = await say(it.pods[1], "ana", "1")
        assert not fresh
        await settled([reader], 2)


async def test_a_sender_that_disconnects_during_the_insert_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        readers = await two_readers(it)
        sending = asyncio.create_task(say(it.pods[0], "ana", "1"))
        while len(it.store.events[ROOM]) < 2:  # noqa: ASYNC110 (until the moment of the commit)
            await asyncio.sleep(0)
        sending.cancel()
        await settled(readers, 2)


async def test_an_unknown_outcome_is_resolved_and_published_by_the_writer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appending_module, "APPEND_SECONDS", 0.02)
    async with world(monkeypatch, pods=2) as it:
        readers = await two_readers(it)
        it.store.forgets = lambda: True
        it.store.fails = lambda name: name in {"by_client_id", "after"}
        with pytest.raises(StoreUnavailableError):
            await say(it.pods[0], "ana", "1")
        it.store.fails = lambda _: False
        await settled(readers, 2)


async def test_swapped_publications_are_put_into_order_without_a_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=3) as it:
        reader = Reader("ben", "en")
        await enter(it.pods[2], reader)
        it.store.called.clear()
        for number in range(40):
            # No pause: publications overtake each other on their way.
            await say(it.pods[0], "ana", str(number))
        await settled([reader], 41)
        assert reader.revs() == list(range(2, 42))
        assert it.store.calls["after"] <= 2


async def test_a_large_event_is_read_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, pods=2) as it:
        readers = await two_readers(it)
        it.bus.ends[0].inline = 500
        await say(it.pods[0], "ana", "1", "x" * 1_000)
        await settled(readers, 2)


async def test_a_room_that_changed_while_it_was_idle_is_read_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        await it.pods[1].directory.get(ROOM)
        it.bus.hides = True
        await say(it.pods[0], "ana", "1")
        it.pods[1].catching_up.missed(lambda _: True)
        assert (await it.pods[1].live.join(ROOM, "ben", None)).rev == 2


async def test_a_room_is_not_evicted_while_a_slow_reader_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Finding 11."""
    monkeypatch.setattr(directory_module, "IDLE_ROOMS", 1)
    slow = asyncio.Event()

    class Slow(Reader):
        async def drained(self) -> None:
            await slow.wait()

    async with world(monkeypatch, pods=2) as it:
        for other in ("a", "b", "c"):
            it.store.found(other, tuple(PEOPLE))
        await say(it.pods[0], "ana", "1")
        reader = Slow("ben", "en")
        attaching = asyncio.create_task(it.pods[1].live.attach(ROOM, reader, 1))
        await eventually(it.pods[1].live.occupied)
        for other in ("a", "b", "c"):
            await it.pods[1].directory.get(other)
        slow.set()
        await attaching
        it.bus.hides = True
        await say(it.pods[0], "ana", "2")
        it.pods[1].catching_up.missed(lambda _: True)
        await settled([reader], 3)


async def test_an_outage_of_the_store_ends_with_the_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        readers = await two_readers(it)
        it.bus.hides = True
        await say(it.pods[0], "ana", "1")
        it.store.fails = lambda name: name == "after"
        it.pods[1].catching_up.missed(lambda _: True)
        await eventually(lambda: it.store.calls["after"] >= 3)
        it.store.fails = lambda _: False
        await settled(readers[1:], 2)
