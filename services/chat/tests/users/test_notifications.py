"""Notifications are derived on the reader's pod, and are lost or repeated by no fault of ours."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ashchat_chat.rooms.chats import Pending
from ashchat_chat.rooms.identifiers import timestamp
from ashchat_chat.users import notifications as notifications_module
from ashchat_chat.users.notifications import Inbox
from chat_world import (
    PEOPLE,
    ROOM,
    MemoryStore,
    Reader,
    World,
    enter,
    eventually,
    result,
    say,
    world,
)


@dataclass
class Cursors:
    """What is stored of notifications, over the log of a store."""

    store: MemoryStore
    stored: dict[tuple[str, str], int] = field(default_factory=dict)

    async def pending(self, user: str, language: str) -> list[Pending]:
        del language
        await asyncio.sleep(0)
        return [
            Pending(room, one.n, one.sender, one.text, timestamp(one.at))
            for room, member in self.store.members
            if member == user
            for one in self.store.sent(room)
            if one.sender != user and one.n > self.stored.get((room, user), 0)
        ]

    async def notified(self, received: Mapping[tuple[str, str], int]) -> None:
        for member, n in received.items():
            self.stored[member] = max(n, self.stored.get(member, 0))


@dataclass
class Boxes:
    it: World
    cursors: Cursors
    inboxes: list[Inbox]


@asynccontextmanager
async def boxes(monkeypatch: pytest.MonkeyPatch, *, pods: int = 2) -> AsyncIterator[Boxes]:
    monkeypatch.setattr(notifications_module, "FLUSH_SECONDS", 0.001)
    async with world(monkeypatch, pods=pods) as it:
        cursors = Cursors(it.store)
        inboxes = [Inbox(cursors, rooms.live, rooms.directory) for rooms in it.pods]
        for rooms, inbox in zip(it.pods, inboxes, strict=True):
            rooms.catching_up.serve_elsewhere(inbox)
        tasks = [asyncio.create_task(inbox.flush()) for inbox in inboxes]
        try:
            yield Boxes(it, cursors, inboxes)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def shown(reader: Reader, event: str = "new_notification") -> list[Any]:
    return [payload["content"] for payload in reader.events(event)]


async def test_a_message_is_shown_on_every_pod_where_its_reader_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with boxes(monkeypatch, pods=3) as them:
        readers = [Reader("ben", "es") for _ in them.inboxes]
        sender = Reader("ana", "es")
        for inbox, reader in zip(them.inboxes, readers, strict=True):
            await inbox.attach(reader)
        await them.inboxes[0].attach(sender)
        monkeypatch.setitem(PEOPLE, "ben", "es")
        them.it.store.reads["ben"] = "es"
        await say(them.it.pods[0], "ana", "1", "uno")
        await eventually(lambda: all(shown(reader) for reader in readers))
        await asyncio.sleep(0.02)
        assert [shown(reader) for reader in readers] == [["uno"]] * 3
        assert shown(sender) == []


async def test_one_publication_per_event_whatever_the_number_of_members(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with boxes(monkeypatch) as them:
        them.it.store.found(ROOM, ("ana", *(f"user-{number}" for number in range(500))))
        await say(them.it.pods[0], "ana", "1")
        published = [event.kind for event in them.it.bus.ends[0].published]
        assert published == ["members", "message"]


async def test_a_reader_gets_the_translation_and_a_joined_room_shows_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with boxes(monkeypatch) as them:
        reader, joined = Reader("ben", "en"), Reader("ana", "es")
        await them.inboxes[1].attach(reader)
        await them.inboxes[0].attach(joined)
        await enter(them.it.pods[0], joined)
        event, _ = await say(them.it.pods[0], "ana", "1", "hola")
        await them.it.pods[0].appending.translated(
            result(
                message=event.message_id, text_version=1, target="en",
                outcome="translated", text="hi", provider="p", reason=None,
            )
        )  # fmt: skip
        await eventually(lambda: shown(reader))
        await say(them.it.pods[1], "ben", "2", "hello")
        await asyncio.sleep(0.02)
        assert shown(reader) == ["hi"]
        assert shown(joined) == []


async def test_the_cursor_moves_when_the_client_has_received_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Finding 8: what was queued for a connection that is dead stays pending."""
    async with boxes(monkeypatch) as them:
        them.it.store.reads["ben"] = "es"
        for number in range(3):
            await say(them.it.pods[0], "ana", str(number), f"text {number}")
        dead = Reader("ben", "es")
        await them.inboxes[0].attach(dead)
        await say(them.it.pods[0], "ana", "3", "text 3")
        assert shown(dead, "pending_notification") == ["text 0", "text 1", "text 2"]
        assert shown(dead) == ["text 3"]
        them.inboxes[0].detach(dead)
        await asyncio.sleep(0.02)
        assert them.cursors.stored == {}
        alive = Reader("ben", "es")
        await them.inboxes[1].attach(alive)
        assert shown(alive, "pending_notification") == ["text 0", "text 1", "text 2", "text 3"]
        alive.receive()
        await eventually(lambda: them.cursors.stored == {(ROOM, "ben"): 4})
        them.inboxes[1].detach(alive)
        later = Reader("ben", "es")
        await them.inboxes[0].attach(later)
        assert later.frames == []


async def test_a_new_chat_is_reported_to_its_members_on_every_pod(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with boxes(monkeypatch) as them:
        ana, ben = Reader("ana", "es"), Reader("ben", "en")
        await them.inboxes[0].attach(ana)
        await them.inboxes[1].attach(ben)
        await them.it.pods[0].directory.get_for("ana", ROOM)
        await eventually(lambda: ben.events("chat_created"))
        assert ana.events("chat_created") == ben.events("chat_created") == [{"chat_id": ROOM}]


async def test_a_pod_without_an_interested_reader_loads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with boxes(monkeypatch) as them:
        await them.inboxes[1].attach(Reader("eve", "en"))
        await say(them.it.pods[0], "ana", "1")
        await asyncio.sleep(0.02)
        assert not them.it.pods[1].directory.knows(ROOM)


async def test_what_was_missed_is_shown_as_new(monkeypatch: pytest.MonkeyPatch) -> None:
    async with boxes(monkeypatch) as them:
        them.it.store.reads["ben"] = "es"
        reader = Reader("ben", "es")
        await them.inboxes[1].attach(reader)
        them.it.bus.hides = True
        await say(them.it.pods[0], "ana", "1", "uno")
        them.it.pods[1].catching_up.missed(lambda _: True)
        await eventually(lambda: shown(reader))
        them.it.bus.hides = False
        await say(them.it.pods[0], "ana", "2", "dos")
        await eventually(lambda: len(shown(reader)) == 2)
        assert shown(reader) == ["uno", "dos"]
