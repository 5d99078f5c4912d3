"""The official Phoenix client works as the original's clients do."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ashchat_dev.client import Person
from ashchat_dev.phoenix import FrameObserver, PhoenixSocket
from ashchat_dev.waiting import until
from ashchat_e2e import npm_packages
from ashchat_e2e.people import PersonFactory

pytestmark = pytest.mark.smoke

FOLDER = Path(__file__).parent / "phoenix"


class OfficialClient:
    """A Node process with the `phoenix` package; phoenix/client.mjs documents its line protocol."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._arrived = asyncio.Condition()
        self._observers: list[FrameObserver] = []
        self.events: list[dict[str, Any]] = []

    async def run(self, *, within: float = 20.0, **command: Any) -> dict[str, Any]:
        """Send a command and return its response."""
        number = len(self._answers) + 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps({'id': number, **command})}\n".encode())
        await self._process.stdin.drain()
        async with asyncio.timeout(within):
            return await answer

    async def event(
        self, topic: str, name: str, match: Callable[[dict[str, Any]], bool], *, within: float = 15
    ) -> dict[str, Any]:
        """Return the payload of the first such event, past or future."""

        def found() -> dict[str, Any] | None:
            return next(
                (
                    event["payload"]
                    for event in self.events
                    if (event["topic"], event["event"]) == (topic, name) and match(event["payload"])
                ),
                None,
            )

        try:
            async with asyncio.timeout(within), self._arrived:
                await self._arrived.wait_for(lambda: found() is not None)
        except TimeoutError:
            pytest.fail(f"no such {name} on {topic} within {within} s; came: {self.events[-8:]}")
        return found() or {}

    def named(self, topic: str, name: str) -> list[dict[str, Any]]:
        """Return the payloads of all such events so far."""
        return [
            event["payload"]
            for event in self.events
            if (event["topic"], event["event"]) == (topic, name)
        ]

    async def listen(self) -> None:
        """Read the process's output until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "frame" in said:
                self._observe(said["frame"], said["text"])
            elif "id" in said:
                if not self._answers[said["id"]].done():
                    self._answers[said["id"]].set_result(said)
            else:
                async with self._arrived:
                    self.events.append(said)
                    self._arrived.notify_all()

    def _observe(self, what: str, text: str) -> None:
        """Show a frame to the observers that the suite has of every socket."""
        if what == "opening":
            self._observers = [new() for new in PhoenixSocket.observers]
        for observer in self._observers:
            match what:
                case "sent":
                    observer.sent(text)
                case "received":
                    observer.received(text)
                case _:
                    pass


@asynccontextmanager
async def official_client() -> AsyncIterator[OfficialClient]:
    process = await asyncio.create_subprocess_exec(
        "node",
        str(FOLDER / "client.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    client = OfficialClient(process)
    listening = asyncio.create_task(client.listen())
    try:
        yield client
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await listening


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def packages() -> None:
    """Install the packages in package-lock.json, unless they are installed."""
    await npm_packages.install(FOLDER)


@pytest_asyncio.fixture(loop_scope="session")
async def clients(packages: None) -> AsyncIterator[list[OfficialClient]]:  # noqa: ARG001
    """Two processes with the official client."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(official_client()) for _ in range(2)]


def has(field: str, value: object) -> Callable[[dict[str, Any]], bool]:
    """Return a predicate that accepts payloads with that value in that field."""
    return lambda payload: payload.get(field) == value


async def enter(client: OfficialClient, who: Person, chat_id: str) -> None:
    """Connect and join as the original's clients do: without naming a protocol."""
    opened = await client.run(
        do="connect",
        # The client itself appends /websocket to the endpoint.
        url=who.environment.socket_url.removesuffix("/websocket"),
        params={
            "token": who.token,
            "device_unique_id": who.device_token,
            "preferred_language": who.language,
        },
    )
    assert opened["status"] == "ok", opened
    joined = await client.run(do="join", topic=f"chat:{chat_id}", payload={})
    assert joined["status"] == "ok", joined


async def test_the_official_client_holds_the_originals_conversation(
    clients: list[OfficialClient], person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    topic = f"chat:{chat_id}"
    ana_client, ben_client = clients
    await enter(ana_client, ana, chat_id)
    await enter(ben_client, ben, chat_id)
    receiver = await ana_client.event(topic, "receiver_info", lambda _: True)
    assert receiver["nickname"] == "Ben"
    assert receiver["preferred_language"] == "en"
    await ana_client.event(topic, "receiver_online", lambda told: told["status"] == "online")

    lines = (
        (ana_client, ben_client, ana, "La casa es grande.", "house"),
        (ben_client, ana_client, ben, "The dog is black.", "perro"),
    )
    for writer, reader, author, text, word in lines:
        ref = str(uuid.uuid4())
        pushed = await writer.run(
            do="push",
            topic=topic,
            event="send_message",
            payload={"content": text, "mobile_ref_id": ref},
        )
        assert pushed["status"] == "ok", pushed
        sent = await writer.event(topic, "message_sent", has("mobile_ref_id", ref))
        assert sent["chat_id"] == chat_id
        assert sent["status"] in {"SENT", "READED"}
        received = await reader.event(topic, "receive_message", has("sender_id", author.user_id))
        assert received["chat_id"] == chat_id
        assert word in received["content"].lower()
    # Once per message, and never the sender's own.
    for client, author in ((ana_client, ben), (ben_client, ana)):
        told = client.named(topic, "receive_message")
        assert [one["sender_id"] for one in told] == [author.user_id]


async def test_the_official_client_sees_typing_and_leaving(
    clients: list[OfficialClient], person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    topic = f"chat:{chat_id}"
    ana_client, ben_client = clients
    await enter(ana_client, ana, chat_id)
    await enter(ben_client, ben, chat_id)
    # The original's server never answers `typing`, and its clients do not wait for an answer.
    pushing = asyncio.create_task(
        ana_client.run(do="push", topic=topic, event="typing", payload={"is_typing": True})
    )
    typing = await ben_client.event(topic, "typing", lambda _: True)
    assert typing["is_typing"] is True
    pushing.cancel()
    assert (await ana_client.run(do="leave", topic=topic))["status"] == "ok"


async def test_the_official_client_receives_the_reason_of_a_rejected_join(
    clients: list[OfficialClient], person: PersonFactory
) -> None:
    ana, ben, eve = await asyncio.gather(
        person("Ana", "es"), person("Ben", "en"), person("Eve", "en")
    )
    chat_id = await ana.open_chat(await ben.tag())
    opened = await clients[0].run(
        do="connect",
        url=eve.environment.socket_url.removesuffix("/websocket"),
        params={
            "token": eve.token,
            "device_unique_id": eve.device_token,
            "preferred_language": "en",
        },
    )
    assert opened["status"] == "ok", opened
    joined = await clients[0].run(do="join", topic=f"chat:{chat_id}", payload={})
    assert joined["status"] == "error"
    assert joined["response"]["reason"] == "chat_not_found"


async def test_the_official_client_opens_a_socket_without_a_secret_in_its_url(
    clients: list[OfficialClient], person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    topic = f"chat:{chat_id}"
    issued = await ana.auth.request("POST", "/socket-ticket", headers=ana.headers)
    ticket = issued.data["ticket"]
    url = ana.environment.socket_url.removesuffix("/websocket")
    for client, status in zip(clients, ("ok", "error"), strict=True):
        opened = await client.run(do="connect", url=url, params={}, authToken=ticket)
        assert opened["status"] == status, "a ticket opens one socket"
    client = clients[0]
    joined = await client.run(do="join", topic=topic, payload={"protocol": 2})
    assert joined["status"] == "ok", joined
    # A binary push is refused, and the topic goes on.
    pushed = await client.run(do="push_bytes", topic=topic, event="picture", bytes=[137, 80, 78])
    assert (pushed["status"], pushed["response"]["reason"]) == ("error", "binary_not_supported")
    message = {"content": "\U0001f600" * 8_000, "mobile_ref_id": str(uuid.uuid4())}
    sent = await client.run(do="push", topic=topic, event="send_message", payload=message)
    assert sent["status"] == "ok", sent


async def test_the_official_presence_class_shows_contacts_and_their_devices(
    clients: list[OfficialClient], person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    watching, appearing = clients
    await enter(watching, ana, chat_id)
    joined = await watching.run(do="join", topic="presence:lobby", payload={}, presence=True)
    assert joined["status"] == "ok", joined
    await watching.event("presence:lobby", "sync", lambda users: ben.user_id not in users)
    await enter(appearing, ben, chat_id)
    await watching.event("presence:lobby", "sync", has(ben.user_id, 1))
    assert (await appearing.run(do="join", topic="presence:lobby", payload={}))["status"] == "ok"
    hidden = await appearing.run(
        do="push", topic="presence:lobby", event="visibility", payload={"visible": False}
    )
    assert hidden["status"] == "ok", hidden
    await until(
        lambda: ben.user_id not in watching.named("presence:lobby", "sync")[-1],
        within=10,
        what="the invisible user to leave the list",
    )
