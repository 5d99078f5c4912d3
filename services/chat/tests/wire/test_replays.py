"""What a reader missed, however much it is and however slowly it reads: real rooms and sockets."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ashchat_chat.rooms.appending import Draft
from ashchat_chat.rooms.events import AnyEvent
from ashchat_chat.users.revocations import Revocations
from ashchat_chat.wire import limits
from ashchat_chat.wire.rules import Rules
from ashchat_chat.wire.socket import Sockets
from ashchat_core.tokens import TokenVerifier
from chat_world import ROOM, World, eventually, revocations, world
from wire_client import WireClient, connect
from wire_world import MemoryTickets, RecordingRules, admission_of

Params = dict[str, str]


@pytest.fixture
def over() -> Revocations:
    return revocations()


@pytest.fixture
def params(token: Callable[..., str]) -> Params:
    return {"token": token(user="ben"), "device_unique_id": "device", "preferred_language": "en"}


def sockets_in(where: World, verifier: TokenVerifier, over: Revocations) -> Sockets:
    other: Any = RecordingRules()
    return Sockets(
        Rules(where.pods[0], other, other, other, other, "pod-1"),
        admission_of(verifier, over, MemoryTickets(), other),
        over,
    )


async def say(where: World, count: int, text: str, start: int = 0) -> None:
    for number in range(start, start + count):
        await where.pods[0].appending.send(ROOM, "ana", Draft(text, str(number), "es"))


async def next_event(session: WireClient) -> dict[str, Any]:
    while True:
        frame = await session.receive_json()
        if frame[3] == "event":
            event: dict[str, Any] = frame[4]
            return event


async def join(session: WireClient, since: int | None = None) -> int:
    payload = {"protocol": 2} if since is None else {"protocol": 2, "since": since}
    session.send_json(["1", "1", f"chat:{ROOM}", "phx_join", payload])
    frame = await session.receive_json()
    assert frame[4]["status"] == "ok"
    return int(frame[4]["response"]["rev"])


@pytest.mark.parametrize("text", ["\u0001" * 8000, "x" * 8000, "x"])
async def test_a_replay_closes_no_healthy_reader_whatever_the_size_of_the_messages(
    monkeypatch: pytest.MonkeyPatch,
    verifier: TokenVerifier,
    over: Revocations,
    params: Params,
    text: str,
) -> None:
    async with world(monkeypatch) as where:
        await say(where, 150, text)
        async with connect(sockets_in(where, verifier, over), params=params) as session:
            await join(session, since=1)
            assert [(await next_event(session))["rev"] for _ in range(150)] == [*range(2, 152)]
            await say(where, 1, text, 150)
            assert (await next_event(session))["rev"] == 152


async def test_a_reader_that_falls_behind_is_served_from_the_log_and_nothing_is_missing(
    monkeypatch: pytest.MonkeyPatch, verifier: TokenVerifier, over: Revocations, params: Params
) -> None:
    async with world(monkeypatch) as where:
        async with connect(sockets_in(where, verifier, over), params=params) as session:
            await say(where, 1, "first")
            head = await join(session)
            session.transport.reads = False
            await say(where, 100, "y" * 8000, start=1)
            waiting = session.transport.get_write_buffer_size()
            assert waiting <= limits.BUDGET_BYTES
            # Heartbeats are answered in spite of it, as soon as it reads.
            session.send_json([None, "h", "phoenix", "heartbeat", {}])
            frames: list[Any] = []
            async with asyncio.timeout(5):
                while not frames or frames[-1][3] != "event" or frames[-1][4]["rev"] < head + 100:
                    session.transport.take(10_000)
                    await asyncio.sleep(0)
                    frames += session.received()
        revs = [frame[4]["rev"] for frame in frames if frame[3] == "event"]
        assert revs == [*range(head + 1, head + 101)]
        assert any(frame[1] == "h" for frame in frames)


async def test_a_room_with_a_reader_that_is_still_behind_stays_loaded_and_complete(
    monkeypatch: pytest.MonkeyPatch, verifier: TokenVerifier, over: Revocations, params: Params
) -> None:
    async with world(monkeypatch) as where:
        await say(where, 100, "x" * 8000)
        live = where.pods[0].live
        async with connect(sockets_in(where, verifier, over), params=params) as session:
            session.transport.reads = False
            session.send_json(["1", "1", f"chat:{ROOM}", "phx_join", {"protocol": 2, "since": 1}])
            await eventually(lambda: ROOM in live.occupied())
            assert live.has_joined(ROOM, "ben")
            # It leaves while it is served from the log: nothing of it stays.
            session.hang_up()
            await session.lost.wait()
            await eventually(lambda: not live.occupied())
        room = where.pods[0].directory.loaded(ROOM)
        assert room is not None
        assert not room.subscribers()


async def test_nothing_of_a_replay_follows_the_answer_to_a_leave(
    monkeypatch: pytest.MonkeyPatch, verifier: TokenVerifier, over: Revocations, params: Params
) -> None:
    async with world(monkeypatch) as where:
        await say(where, 3, "x")
        where.pods[0].directory.recent.forget(ROOM)
        reading, read_on = asyncio.Event(), asyncio.Event()
        after = where.store.after

        async def slowly(revs: Mapping[str, int], limit: int) -> list[AnyEvent]:
            found = await after(revs, limit)
            reading.set()
            await read_on.wait()
            return found

        async with connect(sockets_in(where, verifier, over), params=params) as session:
            monkeypatch.setattr(where.store, "after", slowly)
            await join(session, since=1)
            await reading.wait()
            session.send_json(["1", "2", f"chat:{ROOM}", "phx_leave", {}])
            while (await session.receive_json())[3] != "phx_reply":
                pass
            read_on.set()
            for reference in "34567":
                # Each answer is a turn in which the replay could go on.
                session.send_json([None, reference, "phoenix", "heartbeat", {}])
                assert (await session.receive_json())[1] == reference
