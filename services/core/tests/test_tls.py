"""TLS to external backends: a login is sent only to a server with the right certificate."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ashchat_core.amqp import Broker
from ashchat_core.credentials import Credentials
from ashchat_core.mongo import Mongo
from ashchat_core.redis import Redis
from ashchat_dev.authority import Authority, Pair

OURS = Authority()
HERE = "127.0.0.1"
ENOUGH_SECONDS = 0.4
ENDS_WITHIN_SECONDS = 5
ADDRESS = {
    "rabbitmq": "amqps://me:hush@127.0.0.1:{port}/ashchat",
    "redis": "rediss://me:hush@127.0.0.1:{port}/0",
    "mongodb": "mongodb://me:hush@127.0.0.1:{port}/auth?authSource=admin&tls=true",
}


class Server:
    """Takes what comes after the handshake, and hangs up."""

    def __init__(self) -> None:
        self.took = b""
        self.heard = asyncio.Event()
        self.port = 0

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            self.took += await reader.read(8)
            if self.took:
                self.heard.set()
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self, pair: Pair, folder: Path) -> AsyncIterator[None]:
        async with await asyncio.start_server(
            self.hear, HERE, self.port, ssl=pair.context(folder)
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield


async def amqp(credentials: Credentials) -> None:
    await Broker(credentials, "test", own_exchange="x").run()


async def redis(credentials: Credentials) -> None:
    client = Redis(credentials)
    try:
        await client.ping()
    finally:
        await client.close()


async def mongo(credentials: Credentials) -> None:
    client = Mongo(credentials)
    try:
        await client.ping()
    finally:
        await client.close()


CLIENTS: dict[str, Callable[[Credentials], Awaitable[Any]]] = {
    "rabbitmq": amqp,
    "redis": redis,
    "mongodb": mongo,
}


@pytest.mark.parametrize("backend", CLIENTS)
@pytest.mark.parametrize(
    ("pair", "authority", "spoken"),
    [
        (OURS.server(HERE), OURS, True),
        (OURS.server(HERE), Authority(), False),
        (OURS.server(HERE), None, False),
        (OURS.server("elsewhere.example.org"), OURS, False),
        (OURS.server(HERE, expired=True), OURS, False),
    ],
    ids=["right", "another authority", "the public ones", "another name", "expired"],
)
async def test_only_a_server_with_the_right_certificate_is_spoken_to(
    backend: str, pair: Pair, authority: Authority | None, tmp_path: Path, *, spoken: bool
) -> None:
    server = Server()
    async with server.running(pair, tmp_path):
        (tmp_path / f"{backend}.uri").write_text(ADDRESS[backend].format(port=server.port))
        if authority is not None:
            (tmp_path / f"{backend}-ca.pem").write_text(authority.certificate)
        trying = asyncio.ensure_future(CLIENTS[backend](Credentials(tmp_path)))
        heard = asyncio.create_task(server.heard.wait())
        # A client of a wrong server retries forever, so its silence takes a while to show.
        await asyncio.wait(
            {trying, heard}, timeout=ENOUGH_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for task in (trying, heard):
            task.cancel()
        await asyncio.gather(trying, heard, return_exceptions=True)
    assert bool(server.took) is spoken


async def test_a_broker_session_ends_whenever_it_is_cancelled(tmp_path: Path) -> None:
    server = Server()
    async with server.running(OURS.server(HERE), tmp_path):
        (tmp_path / "rabbitmq.uri").write_text(ADDRESS["rabbitmq"].format(port=server.port))
        (tmp_path / "rabbitmq-ca.pem").write_text(Authority().certificate)

        async def cancelled_after(seconds: float) -> None:
            running = asyncio.ensure_future(amqp(Credentials(tmp_path)))
            await asyncio.sleep(seconds)
            running.cancel()
            ended, _ = await asyncio.wait({running}, timeout=ENDS_WITHIN_SECONDS)
            assert ended, f"still running when cancelled after {seconds:.4f} s"

        # About one delay in fifty meets the end of a handshake.
        for first in range(0, 400, 20):
            delays = [step * 0.00015 for step in range(first, first + 20)]
            await asyncio.gather(*map(cancelled_after, delays))


async def test_a_new_authority_is_trusted_without_a_restart(tmp_path: Path) -> None:
    server, new = Server(), Authority()
    async with server.running(OURS.server(HERE), tmp_path):
        (tmp_path / "redis.uri").write_text(ADDRESS["redis"].format(port=server.port))
        (tmp_path / "redis-ca.pem").write_text(OURS.certificate)
        client = Redis(Credentials(tmp_path))
        with contextlib.suppress(Exception):
            await client.ping()
    assert server.took, "the old authority's certificate"
    server.took = b""
    async with server.running(new.server(HERE), tmp_path):
        with contextlib.suppress(Exception):
            await client.ping()
        assert not server.took, "the new one's, before it is known"
        (tmp_path / "redis-ca.pem").write_text(new.certificate)
        with contextlib.suppress(Exception):
            await client.ping()
    await client.close()
    assert server.took, "the new one's, when it is"


async def test_the_keys_of_a_shared_redis_begin_as_its_address_says(tmp_path: Path) -> None:
    (tmp_path / "redis.uri").write_text("redis://me:hush@127.0.0.1:1/0?prefix=team_chat_")
    client = Redis(Credentials(tmp_path))
    assert client.key("chat:room:1") == "team_chat_chat:room:1"
    assert client.bare("team_chat_chat:room:1") == "chat:room:1"
    (tmp_path / "redis.uri").write_text("redis://me:hush@127.0.0.1:1/0")
    assert Redis(Credentials(tmp_path)).key("chat:room:1") == "chat:room:1"
