"""When a new login to Redis takes the old one's place, over real connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.exceptions import AuthenticationError, RedisError

from ashchat_core import credentials, redis
from ashchat_core.credentials import Credentials
from ashchat_dev.waiting import beside, until


class Server:
    """As much of a Redis as a login needs."""

    def __init__(self, *logins: str) -> None:
        self.logins = set(logins)
        self.refused = asyncio.Event()
        self.pings: list[str] = []
        """By whose login each came."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        login = ""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                words = [
                    (await self._word(reader)) for _ in range(int((await reader.readuntil())[1:]))
                ]
                answer = "+OK"
                if "AUTH" in words:
                    login = words[words.index("AUTH") + 1]
                    if login not in self.logins:
                        self.refused.set()
                        answer = "-WRONGPASS invalid username-password pair"
                elif words == ["PING"]:
                    self.pings.append(login)
                    answer = "+PONG"
                if words[0] == "HELLO" and answer == "+OK":
                    answer = "%1\r\n+proto\r\n:3"
                writer.write(f"{answer}\r\n".encode())
                await writer.drain()
        writer.close()

    async def _word(self, reader: asyncio.StreamReader) -> str:
        length = int((await reader.readuntil())[1:])
        return (await reader.readexactly(length + 2))[:-2].decode()


class Site:
    """A Redis, its server, and the file with its login."""

    def __init__(self, folder: Path, server: Server, port: int) -> None:
        self.server = server
        self.folder = folder
        self.port = port
        self.credentials = Credentials(folder)
        self.give("a")
        self.redis = redis.Redis(self.credentials)

    def give(self, login: str) -> None:
        """Lay down a login, whose revision is its name."""
        (self.folder / "redis.revision").write_text(login)
        (self.folder / "redis.uri").write_text(f"redis://{login}:hush@127.0.0.1:{self.port}/0")

    async def used(self) -> str:
        await self.redis.client.ping()
        return self.server.pings[-1]

    def told(self) -> str | None:
        return self.credentials.in_use.get("redis")


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(redis, "LEAVING_POLL_SECONDS", 0.001)
    monkeypatch.setattr(redis, "RETRIES", 0)  # the library's own tries would hide ours
    monkeypatch.setattr(credentials, "POLL_SECONDS", 0.001)
    server = Server("a")
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        site = Site(tmp_path, server, listening.sockets[0].getsockname()[1])
        yield site
        await site.redis.close()


async def test_a_new_login_that_is_refused_leaves_the_old_one_in_use(site: Site) -> None:
    await site.redis.ping()
    site.give("b")
    with pytest.raises(AuthenticationError):
        await site.redis.swap()
    # A connection that is made only now logs in by the old one too.
    await site.redis.client.connection_pool.disconnect()
    await site.redis.ping()
    assert (await site.used(), site.told()) == ("a", "a")


async def test_a_new_login_that_works_takes_the_old_ones_place(site: Site) -> None:
    await site.redis.ping()
    site.give("b")
    site.server.logins = {"b"}
    await site.redis.swap()
    assert (await site.used(), site.told()) == ("b", "b")


async def test_a_new_login_is_tried_until_it_works(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with beside(site.redis.watch()):
        await until(lambda: site.told() == "a", every=0.001)
        monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 0.05)  # also how long until the next try
        site.give("b")
        await asyncio.wait_for(site.server.refused.wait(), 1)
        assert (await site.used(), site.told()) == ("a", "a")
        site.server.logins = {"b"}
        await until(lambda: site.told() == "b", every=0.001)
        assert await site.used() == "b"


async def test_a_login_that_changes_before_the_first_one_is_proven_is_not_missed(
    site: Site,
) -> None:
    # Its login is read, and the server does not take it yet.
    site.server.logins = set()
    with pytest.raises(RedisError):
        await site.redis.ping()
    site.give("b")
    site.server.logins = {"a", "b"}
    async with beside(site.redis.watch()):
        await until(lambda: site.told() == "b", every=0.001)
        assert await site.used() == "b"
