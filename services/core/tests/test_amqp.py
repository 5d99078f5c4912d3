"""Sessions, publishing and consuming, on a fake connection."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from urllib.parse import urlsplit

import aio_pika
import pytest
from aio_pika.exceptions import (
    ChannelInvalidStateError,
    DeliveryError,
    ProbableAuthenticationError,
)
from aio_pika.exceptions import PublishError as ReturnedError
from pamqp.commands import Basic

from ashchat_core import amqp, amqp_consumers, credentials
from ashchat_core.amqp import (
    SHORT_STRING_BYTES,
    Broker,
    BrokerUnavailableError,
    PublishError,
    short_id,
)
from ashchat_core.backoff import backoff
from ashchat_core.credentials import Credential, Credentials
from ashchat_core.deliveries import Delivery
from ashchat_core.messages import AccountConfirmed
from ashchat_core.topology import Queue
from ashchat_dev.waiting import beside, until


def test_backoff_grows_to_its_ceiling_and_is_never_zero() -> None:
    assert all(0.1 <= backoff(0) <= 0.2 for _ in range(100))
    assert all(2.5 <= backoff(1000) <= 5.0 for _ in range(100))


@pytest.mark.parametrize("character", ["a", "ß", "😀"])
def test_an_id_of_any_length_fits_into_a_message(character: str) -> None:
    longest = character * (SHORT_STRING_BYTES // len(character.encode()))
    assert short_id(longest) == longest
    other, longer = short_id(f"{longest}aaaa"), short_id(f"{longest}aaab")
    assert len({other, longer, longest}) == 3
    assert len(longer.encode()) <= SHORT_STRING_BYTES


async def test_publishing_without_a_session_raises_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(Credentials(tmp_path), "test", own_exchange="email")
    monkeypatch.setattr(amqp, "PUBLISH_TIMEOUT_SECONDS", 0.001)
    with pytest.raises(BrokerUnavailableError):
        await broker.publish(
            "auth", "Q", AccountConfirmed(user_id="u", tag_user_id="t"), message_id="m"
        )


async def test_a_queue_carries_the_model_of_the_topology_only(tmp_path: Path) -> None:
    broker = Broker(Credentials(tmp_path), "test", own_exchange="chat")
    body = AccountConfirmed(user_id="u", tag_user_id="t")
    with pytest.raises(TypeError, match="TRANSLATE_QUEUE has messages of TranslateJob"):
        await broker.publish("chat", Queue.TRANSLATE, body, message_id="m")

    async def handle(_: Delivery[AccountConfirmed]) -> None: ...

    with pytest.raises(TypeError, match="TRANSLATE_QUEUE has messages of TranslateJob"):
        broker.consume(Queue.TRANSLATE, AccountConfirmed, handle)


# sessions and what is published in them


class Rabbit:
    """As much of a server as a session needs: who may log in, and what becomes of a message."""

    def __init__(self, *logins: str) -> None:
        self.logins = set(logins)
        self.tries: list[str] = []
        self.answer: Literal["ack", "nack", "unroutable"] = "ack"
        self.lines: list[Line] = []
        self.published: list[tuple[str, Any]] = []
        """What was confirmed, with the login it came by."""
        self.gate = asyncio.Event()
        """While it is not set, nobody's connection is there yet."""
        self.gate.set()

    async def connect(self, url: str, **_: object) -> "Line":
        login = urlsplit(url).username or ""
        self.tries.append(login)
        await self.gate.wait()
        if login not in self.logins:
            raise ProbableAuthenticationError(403, "ACCESS_REFUSED")
        self.lines.append(Line(self, login))
        return self.lines[-1]

    def open(self) -> list[str]:
        return [line.login for line in self.lines if not line.closed.is_set()]


class Line:
    """One connection."""

    def __init__(self, server: Rabbit, login: str) -> None:
        self.server = server
        self.login = login
        self.close_callbacks: set[Callable[..., None]] = set()
        self.closed = asyncio.Event()
        self.began = asyncio.get_running_loop().time()

    async def channel(
        self, *, publisher_confirms: bool = False, on_return_raises: bool = False
    ) -> "Channel":
        return Channel(self, confirms=publisher_confirms, raises=on_return_raises)

    async def close(self) -> None:
        self.closed.set()
        for callback in list(self.close_callbacks):
            callback()


class Channel:
    """A channel and its exchanges: without confirms it says nothing of what became of a message."""

    def __init__(self, line: Line, *, confirms: bool, raises: bool) -> None:
        self.line = line
        self.confirms = confirms
        self.raises = raises
        self.close_callbacks: set[Callable[..., None]] = set()

    async def get_exchange(self, _: str, *, ensure: bool) -> "Channel":
        assert not ensure  # services may not declare
        return self

    async def publish(
        self,
        message: Any,
        _: str,
        *,
        mandatory: bool = False,
        timeout: float,  # noqa: ASYNC109 (aio-pika's)
    ) -> None:
        assert timeout > 0
        server = self.line.server
        if self.line.closed.is_set():
            raise ChannelInvalidStateError
        if server.answer == "unroutable":
            if mandatory and self.raises:
                returned = Basic.Return(312, "NO_ROUTE", "auth", "Q")
                raise ReturnedError(SimpleNamespace(delivery=returned), returned)  # type: ignore[arg-type]
        elif server.answer == "nack":
            if self.confirms:
                raise DeliveryError(None, Basic.Nack())
        else:
            server.published.append((self.line.login, message))


class Site:
    """A broker that runs, its server, and the file with its login."""

    def __init__(self, folder: Path, server: Rabbit) -> None:
        self.server = server
        self.credentials = Credentials(folder)
        self.broker = Broker(self.credentials, "test", own_exchange="email")
        self.folder = folder
        self.looks = 0
        """How often the watcher has looked at the file."""
        self.give("a")

    def give(self, login: str) -> None:
        """Lay down a login, whose revision is its name."""
        (self.folder / "rabbitmq.revision").write_text(login)
        (self.folder / "rabbitmq.uri").write_text(f"amqp://{login}:hush@mq.invalid/ashchat")

    def told(self) -> str | None:
        return self.credentials.in_use.get("rabbitmq")

    async def publish(self) -> None:
        body = AccountConfirmed(user_id="u", tag_user_id="t")
        await self.broker.publish("auth", "Q", body, message_id="m")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for module in (amqp, amqp_consumers):
        monkeypatch.setattr(module, "backoff", lambda _: 0.001)
    monkeypatch.setattr(amqp, "OVERLAP_SECONDS", 0.05)
    monkeypatch.setattr(credentials, "POLL_SECONDS", 0.001)
    server = Rabbit("a")
    monkeypatch.setattr(aio_pika, "connect", server.connect)
    made = Site(tmp_path, server)
    peek = made.credentials._peek

    def look(name: str) -> Credential | None:
        made.looks += 1
        return peek(name)

    monkeypatch.setattr(made.credentials, "_peek", look)
    return made


async def test_what_is_published_is_persistent_and_keeps_its_id(site: Site) -> None:
    async with beside(site.broker.run()):
        await site.publish()
    ((_, message),) = site.server.published
    assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert message.message_id == "m"


@pytest.mark.parametrize("answer", ["nack", "unroutable"])
async def test_a_message_that_the_broker_does_not_take_is_not_published(
    site: Site, answer: Literal["nack", "unroutable"]
) -> None:
    site.server.answer = answer
    async with beside(site.broker.run()):
        with pytest.raises(PublishError):
            await site.publish()


async def test_a_session_that_breaks_is_followed_by_one_that_publishes(site: Site) -> None:
    async with beside(site.broker.run()):
        await site.publish()
        await site.server.lines[0].close()
        await site.publish()
    assert len(site.server.published) == len(site.server.lines) == 2


async def test_a_login_that_is_refused_is_read_again(site: Site) -> None:
    server = site.server
    server.logins = {"b"}
    async with beside(site.broker.run()):
        await until(lambda: server.tries.count("a") > 1, every=0.001)
        assert not site.broker.connected
        assert site.told() is None
        site.give("b")
        await site.publish()
        assert site.told() == "b"
    assert [login for login, _ in server.published] == ["b"]


async def test_a_new_login_that_is_refused_leaves_the_old_one_in_use(site: Site) -> None:
    server = site.server
    async with beside(site.broker.run()):
        await site.publish()
        site.give("b")
        await until(lambda: server.tries.count("b") > 2, every=0.001)
        await site.publish()
        assert site.told() == "a"
        assert [login for login, _ in server.published] == ["a", "a"]

        server.logins = {"a", "b"}
        await until(lambda: site.told() == "b", every=0.001)
        (old, new) = server.lines
        await site.publish()
        assert server.published[-1][0] == "b"
        async with asyncio.timeout(1):
            await old.closed.wait()
        # What was in hand could still end by the old one.
        assert asyncio.get_running_loop().time() - new.began >= amqp.OVERLAP_SECONDS
        await site.publish()
        assert server.published[-1][0] == "b"
    assert server.open() == []


async def test_a_login_that_changes_while_a_session_opens_is_not_missed(site: Site) -> None:
    server = site.server
    server.logins = {"a", "b"}
    server.gate.clear()
    async with beside(site.broker.run()):
        await until(lambda: server.tries, every=0.001)
        site.give("b")
        looked = site.looks
        await until(lambda: site.looks > looked, every=0.001)  # and there is no session yet
        server.gate.set()
        await until(lambda: site.told() == "b", every=0.001)
        async with asyncio.timeout(1):
            await server.lines[0].closed.wait()
        assert server.open() == ["b"]


async def test_a_session_that_ends_while_its_successor_opens_leaves_one_session(
    site: Site,
) -> None:
    server = site.server
    async with beside(site.broker.run()):
        await site.publish()
        server.logins = {"b"}
        server.gate.clear()
        site.give("b")
        await until(lambda: "b" in server.tries, every=0.001)
        await server.lines[0].close()
        await until(lambda: server.tries.count("b") > 1, every=0.001)
        server.gate.set()
        await site.publish()
        await until(lambda: server.open() == ["b"], every=0.001)
        assert site.told() == "b"
    assert server.open() == []
