"""Two users who talk during a fault, with clients that reconnect, resume and send again.

These clients do what docs/reference/protocol.md requires: store the last `rev`, reconnect, resume
from it, and resend unanswered messages with the same id.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from ashchat_dev.client import Person, RequestRefusedError
from ashchat_dev.conversation import SENTENCES, messages_of
from ashchat_dev.phoenix import Channel, JoinRefusedError, SocketLostError, SocketRefusedError
from ashchat_dev.waiting import until
from ashchat_e2e.history import History

BROKEN = (SocketLostError, SocketRefusedError, JoinRefusedError, TimeoutError, OSError)
"""Errors that a client meets during an outage; it retries."""

AGAIN_S = 0.2
PACE_S = 0.15
"""Between two messages of one user."""

UNANSWERED_S = 5.0
"""Seconds after which a client gives up a connection on which a message was not answered."""

Fault = Callable[[], Awaitable[None]]


@dataclass(eq=False)
class Talker:
    """A user with a protocol 2 client that reconnects and retries."""

    person: Person
    chat_id: str
    history: History
    pods: list[str] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    resumed: int = 0
    _channel: Channel | None = None
    _taken: int = 0
    _rev: int | None = None
    _connecting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def channel(self) -> Channel:
        """Return the joined channel; reconnect and resume if it was lost."""
        async with self._connecting:
            while True:
                if self._channel is not None:
                    self.take()
                    if not self._channel.socket.closed.done() and self._channel.ended is None:
                        return self._channel
                    await self._channel.socket.close()
                    self._channel = None
                with suppress(*BROKEN):
                    since: dict[str, Any] = {} if self._rev is None else {"since": self._rev}
                    self._channel = await self.person.join_chat(self.chat_id, **since)
                    self._taken = 0
                    self.resumed += self._rev is not None
                    self.pods.append(self._channel.response["pod"])
                    assert self._channel.response["reset"] is False
                    if self._rev is None:
                        self._rev = self._channel.response["rev"]
                    return self._channel
                await asyncio.sleep(AGAIN_S)

    def take(self) -> None:
        """Record new events, and the last revision."""
        if self._channel is None:
            return
        events = self._channel.events
        for event in events[self._taken :]:
            if event.name == "event":
                assert self._rev is None or event.payload["rev"] > self._rev, "out of order"
                self._rev = event.payload["rev"]
                self.heard.append(event.payload)
        self._taken = len(events)

    async def stay(self) -> None:
        """Stay connected until cancelled."""
        while True:
            channel = await self.channel()
            await asyncio.wait({channel.socket.closed}, timeout=AGAIN_S)

    async def say(self, text: str) -> None:
        """Send a message until it is acknowledged."""
        ref = str(uuid.uuid4())
        self.history.send(self.chat_id, self.person.user_id, ref)
        while True:
            channel = await self.channel()
            with suppress(*BROKEN):
                try:
                    reply = await channel.push(
                        "send_message", {"content": text, "mobile_ref_id": ref}, within=UNANSWERED_S
                    )
                except TimeoutError:
                    await self._abandon(channel)
                    raise
                if reply.status == "ok":
                    self.history.acknowledged(ref)
                    self.acknowledged.add(ref)
                    return
                assert reply.response["reason"] in {"unavailable", "rate_limited"}, reply
            await asyncio.sleep(AGAIN_S)

    async def _abandon(self, channel: Channel) -> None:
        """Give up a connection that does not answer: its server may be unreachable."""
        self.take()
        if self._channel is channel:
            self._channel = None
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await channel.socket.close()

    async def talk(self, over: asyncio.Event) -> None:
        """Send messages until the event is set; finish a send that has begun."""
        while not over.is_set():
            await self.say(SENTENCES[self.person.language])
            await asyncio.sleep(PACE_S)

    def refs(self) -> list[str]:
        """Return the ids of the received messages, in order of arrival."""
        return [event["mobile_ref_id"] for event in self.heard if event["kind"] == "message"]


Talkers = tuple[Talker, Talker]


async def two_talkers(ana: Person, ben: Person, history: History) -> Talkers:
    """Return two users in a chat, on different pods if there are several."""
    chat_id = await ana.open_chat(await ben.tag())
    one, other = Talker(ana, chat_id, history), Talker(ben, chat_id, history)
    await one.channel()
    for _ in range(40):
        channel = await other.channel()
        if other.pods[-1] != one.pods[-1]:
            break
        await channel.socket.close()
    return one, other


async def converse(
    talkers: Talkers, fault: Fault, recovered: Fault, *, before_s: float = 1.5
) -> None:
    """Run a conversation during a fault, and for some time after it."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        staying = [group.create_task(one.stay()) for one in talkers]
        talking = [group.create_task(one.talk(over)) for one in talkers]
        await asyncio.sleep(before_s)
        await fault()
        await recovered()
        await asyncio.sleep(before_s)
        over.set()
        await asyncio.wait(talking)
        wanted = talkers[0].acknowledged | talkers[1].acknowledged

        def all_heard() -> bool:
            for one in talkers:
                one.take()
            return all(wanted <= set(one.refs()) for one in talkers)

        await until(all_heard, within=30, what="every acknowledged message received by both")
        for task in staying:
            task.cancel()


async def check(talkers: Talkers, history: History) -> None:
    """Check that no message is lost, duplicated or reordered, and that all are translated."""
    for one in talkers:
        history.read(one.person.name, one.chat_id, one.refs())
        kept = await messages_of(one.person, one.chat_id)
        history.read(f"{one.person.name} by HTTP", one.chat_id, [each["id"] for each in kept])
    history.check()
    counts = history.counts
    assert counts["acknowledged"] == counts["sent"] >= 10

    async def all_translated() -> bool:
        kept = await messages_of(talkers[0].person, talkers[0].chat_id)
        return all(each["translations"] for each in kept)

    await until(
        all_translated,
        within=90,
        every=1.0,
        what="a translation of every message",
        ignoring=(httpx2.TransportError, RequestRefusedError),
    )
