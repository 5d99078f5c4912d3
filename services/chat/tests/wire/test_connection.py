"""One socket: what waits is bounded, and a slow reader holds nobody up."""

import asyncio

import pytest

from ashchat_chat.wire import connection as connection_module
from ashchat_chat.wire import limits
from ashchat_chat.wire.connection import LOW_WATER_FRAMES, Close, Connection


class Network:
    """Takes texts while it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.texts: list[str] = []
        self.closed: tuple[int, str | None] | None = None

    async def send_text(self, data: str) -> None:
        await self.open.wait()
        self.texts.append(data)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        await self.open.wait()
        self.closed = (code, reason)


def nothing() -> None:
    pass


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_texts_leave_in_order_and_an_idle_socket_has_no_task() -> None:
    network = Network()
    network.open.set()
    connection = Connection(network, dead=nothing)
    before = len(asyncio.all_tasks())
    for number in range(100):
        connection.send(str(number), "event")
    await settle()
    await connection.drained()
    await settle()
    assert network.texts == [str(number) for number in range(100)]
    assert len(asyncio.all_tasks()) == before


async def test_a_slow_reader_is_closed_with_a_code_to_resume() -> None:
    network = Network()
    connection = Connection(network, dead=nothing)
    for number in range(limits.QUEUE_MAX_FRAMES + 2):
        connection.send(str(number), "event")
        # The first one is being written, and does not leave.
        await asyncio.sleep(0)
    assert connection.closing is not None
    assert connection.closing[0] == Close.SLOW
    connection.send("more", "event")
    network.open.set()
    await settle()
    assert network.texts == ["0"]
    assert network.closed is not None
    assert network.closed[0] == Close.SLOW


async def test_few_long_texts_count_too() -> None:
    connection = Connection(Network(), dead=nothing)
    text = "x" * (limits.QUEUE_MAX_CHARS // 3)
    for _ in range(4):
        connection.send(text, "event")
    assert connection.closing is not None
    await connection.stop()


async def test_what_was_queued_before_a_restart_still_leaves() -> None:
    network = Network()
    network.open.set()
    connection = Connection(network, dead=nothing)
    connection.send("answer", "phx_reply")
    connection.close(Close.RESTART, "restart")
    connection.close(Close.SLOW, "too late to change")
    await settle()
    assert network.texts == ["answer"]
    assert network.closed == (1012, "restart")


async def test_replaying_waits_for_the_reader() -> None:
    network = Network()
    connection = Connection(network, dead=nothing)
    for number in range(LOW_WATER_FRAMES + 10):
        connection.send(str(number), "event")
    waiting = asyncio.create_task(connection.drained())
    await settle()
    assert not waiting.done()
    network.open.set()
    async with asyncio.timeout(1):
        await waiting


async def test_a_network_that_fails_ends_the_socket() -> None:
    class Broken(Network):
        async def send_text(self, data: str) -> None:
            raise OSError(data)

    died = asyncio.Event()
    connection = Connection(Broken(), dead=died.set)
    connection.send("x", "event")
    async with asyncio.timeout(1):
        await died.wait()
    assert connection.closing is not None


async def test_a_reader_that_takes_nothing_is_given_up_as_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "WRITE_SECONDS", 0.01)
    network = Network()
    died = asyncio.Event()
    connection = Connection(network, dead=died.set)
    for number in range(LOW_WATER_FRAMES + 10):
        connection.send(str(number), "event")
    waiting = asyncio.create_task(connection.drained())
    await asyncio.wait_for(died.wait(), 1)
    assert connection.closing is not None
    assert connection.closing[0] == Close.SLOW
    # Nor does a replay wait for it.
    await asyncio.wait_for(waiting, 1)
    await connection.stop()
    assert network.texts == []


async def test_a_reader_that_does_not_take_its_close_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "WRITE_SECONDS", 0.01)
    died = asyncio.Event()
    connection = Connection(Network(), dead=died.set)
    connection.close(Close.RESTART, "restart")
    await asyncio.wait_for(died.wait(), 1)
    assert connection.closing == (1012, "restart")
    await connection.stop()


async def test_a_revoked_session_gets_nothing_more_and_is_cut_if_it_does_not_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "REVOKED_SECONDS", 0.01)
    network = Network()
    cut = asyncio.Event()
    connection = Connection(network, dead=cut.set)
    for number in range(3):
        connection.send(str(number), "event")
    await settle()
    connection.close(Close.REVOKED, "session revoked")
    connection.close(Close.REVOKED, "session revoked")
    await asyncio.wait_for(cut.wait(), 1)
    network.open.set()
    await settle()
    # What was being written already cannot be taken back.
    assert network.texts == ["0"]
    assert network.closed == (4403, "session revoked")
    await connection.stop()


async def test_a_revoked_session_that_closes_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "REVOKED_SECONDS", 0.01)
    network = Network()
    network.open.set()
    cut = asyncio.Event()
    connection = Connection(network, dead=cut.set)
    connection.close(Close.REVOKED, "session revoked")
    await settle()
    await connection.stop()
    await asyncio.sleep(0.03)
    assert not cut.is_set()
