"""One open socket: what waits is bounded, and a slow reader holds nobody up."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN

from ashchat_chat.wire import connection as connection_module
from ashchat_chat.wire import limits
from ashchat_chat.wire.connection import STALL_SECONDS, Close, Connection
from ashchat_chat.wire.flusher import Flusher
from ashchat_chat.wire.text_frames import text_frame
from wire_client import WireClient


class Heard:
    """What a connection has reported."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.binary: list[bytes] = []
        self.ends = 0

    def received_text(self, text: str) -> None:
        self.texts.append(text)

    def received_binary(self, data: bytes) -> None:
        self.binary.append(data)

    def ended(self) -> None:
        self.ends += 1


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def client() -> WireClient:
    return WireClient("ws://chat/", state=OPEN)  # without a handshake


@pytest.fixture
async def connection(client: WireClient, heard: Heard) -> Iterator[Connection]:  # type: ignore[misc]
    made = Connection(client.transport, Flusher(), set())
    client.transport.set_protocol(made)
    made.listen(heard)
    yield made
    client.hang_up()
    await client.lost.wait()


def client_frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


def size_of_waiting(connection: Connection, client: WireClient) -> int:
    return connection._size + client.transport.get_write_buffer_size()


def code_of(connection: Connection) -> int | None:
    """Return why a socket is to end."""
    return None if connection.closing is None else connection.closing[0]


async def texts(client: WireClient, count: int) -> list[Any]:
    return [(await client.receive())["text"] for _ in range(count)]


async def test_frames_leave_in_order_in_one_write_and_an_idle_socket_has_no_task(
    client: WireClient, connection: Connection
) -> None:
    before = len(asyncio.all_tasks())
    for number in range(100):
        assert connection.offer(text_frame(str(number).encode()))
    assert await texts(client, 100) == [str(number) for number in range(100)]
    assert client.transport.writes == 1
    assert len(asyncio.all_tasks()) == before


async def test_many_sockets_get_the_same_bytes_and_others_work_in_between(heard: Heard) -> None:
    flusher, turns = Flusher(), 0
    clients = [WireClient("ws://chat/", state=OPEN) for _ in range(3 * Flusher.SLICE)]
    for one in clients:
        made = Connection(one.transport, flusher, set())
        one.transport.set_protocol(made)
        made.listen(heard)
        made.offer(text_frame(b"x"))

    async def work() -> None:
        nonlocal turns
        while not all(one.transport.writes for one in clients):
            turns += any(one.transport.writes for one in clients)
            await asyncio.sleep(0)

    await asyncio.wait_for(work(), 5)
    assert turns >= 2
    assert [await texts(one, 1) for one in clients] == [["x"]] * len(clients)


async def test_a_slow_reader_is_refused_more_and_stays_open(
    client: WireClient, connection: Connection
) -> None:
    client.transport.reads = False
    frame, accepted = text_frame(b"x" * 10_000), 0
    for number in range(1_000):
        accepted += connection.offer(frame)
        if number % 10 == 0:
            await asyncio.sleep(0.003)
    assert code_of(connection) is None
    bound = limits.BUDGET_BYTES + 2 * connection_module.CHUNK_BYTES + 2 * len(frame)
    assert limits.BUDGET_BYTES <= size_of_waiting(connection, client) <= bound
    while client.transport.get_write_buffer_size():
        client.transport.take(8_192)
        await asyncio.sleep(0.003)
    assert [len(text) for text in await texts(client, accepted)] == [10_000] * accepted


async def test_a_replay_waits_until_there_is_room(
    client: WireClient, connection: Connection
) -> None:
    client.transport.reads = False
    while connection.offer(text_frame(b"x" * 10_000)):
        pass
    waiting = asyncio.create_task(connection.drained())
    await asyncio.sleep(0.01)
    assert waiting.done() is False
    async with asyncio.timeout(1):
        while not waiting.done():
            client.transport.take()
            await asyncio.sleep(0.003)
    assert connection.offer(text_frame(b"more"))


async def test_only_a_reader_that_takes_nothing_is_closed(
    client: WireClient, connection: Connection
) -> None:
    client.transport.reads = False
    connection.offer(text_frame(b"x" * 100_000))
    await asyncio.sleep(0.01)
    now = 1_000.0
    for _ in range(5):
        # A byte in nine seconds is slow, and healthy.
        connection.check(now)
        client.transport.take(1)
        now += STALL_SECONDS - 1
    assert code_of(connection) is None
    connection.check(now)
    connection.check(now + STALL_SECONDS)
    assert code_of(connection) == Close.SLOW
    # Nor does a replay wait for it.
    await asyncio.wait_for(connection.drained(), 1)


async def test_what_cannot_be_read_again_waits_up_to_a_larger_bound(
    client: WireClient, connection: Connection
) -> None:
    client.transport.reads = False
    for _ in range(limits.UNRESUMABLE_BYTES // 10_000):
        connection.insist(text_frame(b"x" * 10_000))
    assert code_of(connection) is None
    connection.insist(text_frame(b"x" * 100_000))
    connection.insist(text_frame(b"x"))
    assert code_of(connection) == Close.SLOW


async def test_a_client_that_does_not_take_its_answers_is_not_read(
    client: WireClient, connection: Connection
) -> None:
    client.transport.reads = False
    for _ in range(2 * limits.BUDGET_BYTES // 10_000 + 1):
        connection.answer(text_frame(b"x" * 10_000))
    held = connection.held
    assert held
    assert size_of_waiting(connection, client) <= 2 * limits.BUDGET_BYTES + 20_000
    async with asyncio.timeout(1):
        while connection.held:
            await asyncio.sleep(0.003)
            client.transport.take()
    assert code_of(connection) is None


async def test_what_was_queued_before_a_restart_still_leaves(
    client: WireClient, connection: Connection
) -> None:
    connection.answer(text_frame(b"answer"))
    connection.close(Close.RESTART, "restart")
    connection.close(Close.TOKEN_EXPIRED, "too late to change")
    connection.answer(text_frame(b"too late"))
    assert await texts(client, 1) == ["answer"]
    message = await client.receive()
    assert (message["code"], message["reason"]) == (1012, "restart")
    # The client answers, and the connection ends.
    await asyncio.wait_for(client.lost.wait(), 1)


async def test_a_revoked_session_gets_nothing_more_and_is_cut_if_it_does_not_close(
    client: WireClient, connection: Connection, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CUT_SECONDS", 0.01)
    client.transport.reads = False
    connection.answer(text_frame(b"x"))
    connection.close(Close.RESTART, "restart")
    connection.close(Close.REVOKED, "session revoked")
    connection.close(Close.REVOKED, "session revoked")
    await asyncio.wait_for(client.lost.wait(), 1)
    await asyncio.sleep(0)
    assert heard.ends == 1


async def test_fragments_pings_and_binary_messages(
    client: WireClient, connection: Connection, heard: Heard
) -> None:
    stream = (
        client_frame(Opcode.TEXT, b"one")
        + client_frame(Opcode.TEXT, "zw\u00f6".encode()[:3], fin=False)
        + client_frame(Opcode.PING, b"ping")
        + client_frame(Opcode.CONT, "zw\u00f6".encode()[3:])
        + client_frame(Opcode.BINARY, b"\0")
    )
    for byte in stream:
        connection.data_received(bytes((byte,)))
    assert (heard.texts, heard.binary) == (["one", "zw\u00f6"], [b"\0"])
    assert await texts(client, 1) == ["ping"]
    # Nothing is kept of what was read.
    assert not connection._reader._buffer
    assert connection._reader._parsing is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(Opcode.TEXT, b"x" * (limits.FRAME_MAX_BYTES + 1)), 1009),
        (
            client_frame(Opcode.TEXT, b"x" * limits.FRAME_MAX_BYTES, fin=False)
            + client_frame(Opcode.CONT, b"x"),
            1009,
        ),
        (client_frame(Opcode.CONT, b"x"), 1002),
        (client_frame(Opcode.TEXT, b"x", fin=False) + client_frame(Opcode.TEXT, b"x"), 1002),
        (Frame(Opcode.TEXT, b"x").serialize(mask=False), 1002),
        (b"\xff\xff", 1002),
        (client_frame(Opcode.CLOSE, b"\x00\x01"), 1002),
        (client_frame(Opcode.TEXT, b"\xff"), 1007),
    ],
    # The bytes contain random masks.
    ids=[
        "large", "large-in-parts", "no-beginning", "no-end", "not-masked", "no-frame",
        "no-close-code", "no-utf-8",
    ],
)  # fmt: skip
async def test_what_breaks_the_protocol_closes_the_socket(
    client: WireClient, connection: Connection, data: bytes, code: int
) -> None:
    connection.data_received(data)
    assert (await client.receive())["code"] == code


async def test_a_client_that_closes_is_answered(
    client: WireClient, connection: Connection, heard: Heard
) -> None:
    connection.answer(text_frame(b"last"))
    connection.data_received(client_frame(Opcode.CLOSE, (1001).to_bytes(2, "big") + b"bye"))
    assert await texts(client, 1) == ["last"]
    assert (await client.receive())["code"] == 1001
    await asyncio.wait_for(client.lost.wait(), 1)
    await asyncio.sleep(0)
    assert heard.ends == 1
