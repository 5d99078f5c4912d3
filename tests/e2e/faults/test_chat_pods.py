"""Chat pods die during conversations: no acknowledged message is lost.

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
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.phoenix import Channel, JoinRefusedError, SocketLostError, SocketRefusedError
from ashchat_dev.waiting import until
from ashchat_e2e.container_runtime import Runtime
from ashchat_e2e.history import History
from ashchat_e2e.people import PersonFactory

BROKEN = (SocketLostError, SocketRefusedError, JoinRefusedError, TimeoutError, OSError)
"""Errors that a client meets during an outage; it retries."""

AGAIN_S = 0.2
PACE_S = 0.15
"""Between two messages of one user."""

RECOVERY_S = 180.0
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
                reply = await channel.push(
                    "send_message", {"content": text, "mobile_ref_id": ref}, within=10
                )
                if reply.status == "ok":
                    self.history.acknowledged(ref)
                    self.acknowledged.add(ref)
                    return
                assert reply.response["reason"] in {"unavailable", "rate_limited"}, reply
            await asyncio.sleep(AGAIN_S)

    async def talk(self, over: asyncio.Event) -> None:
        """Send messages until the event is set; finish a send that has begun."""
        while not over.is_set():
            await self.say(SENTENCES[self.person.language])
            await asyncio.sleep(PACE_S)

    def refs(self) -> list[str]:
        """Return the ids of the received messages, in order of arrival."""
        return [event["mobile_ref_id"] for event in self.heard if event["kind"] == "message"]


async def two_talkers(ana: Person, ben: Person, history: History) -> tuple[Talker, Talker]:
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
    talkers: tuple[Talker, Talker], fault: Fault, recovered: Fault, *, before_s: float = 1.5
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


async def check(talkers: tuple[Talker, Talker], history: History) -> None:
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


async def test_a_chat_pod_is_killed_during_a_conversation(
    cluster: Cluster, person: PersonFactory, runtime: Runtime
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    history = History()
    talkers = await two_talkers(ana, ben, history)

    async def kill() -> None:
        name = talkers[0].pods[-1]
        # With `delete` alone, even forced, the process would have time to shut down gracefully.
        await runtime.kill(await cluster.read("pods", name))
        await cluster.delete("pods", name, now=True)

    await converse(talkers, kill, lambda: cluster.wait_ready(within=RECOVERY_S))
    await check(talkers, history)
    assert talkers[0].resumed >= 1, "the pod's death was not noticed"


async def test_a_stopping_chat_pod_notifies_its_clients(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    history = History()
    talkers = await two_talkers(ana, ben, history)
    socket = (await talkers[0].channel()).socket

    async def stop() -> None:
        await cluster.delete("pods", talkers[0].pods[-1])

    async def stopped() -> None:
        # A stopping pod keeps serving briefly, until no new requests are routed to it.
        await asyncio.wait({socket.closed}, timeout=60)
        await cluster.wait_ready(within=RECOVERY_S)

    await converse(talkers, stop, stopped)
    await check(talkers, history)
    assert socket.closed.result().code == 1012


async def test_an_original_client_receives_each_message_once_while_redis_dies(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    history = History()
    talkers = await two_talkers(ana, ben, history)
    talker = talkers[0]
    await (await talkers[1].channel()).socket.close()
    listening = await ben.join_chat(talker.chat_id, protocol=1)

    async def killed() -> None:
        await cluster.kill("redis")
        await cluster.wait_ready(within=RECOVERY_S)

    fault = asyncio.create_task(killed())
    said = 0
    while said < 15 or not fault.done():
        await talker.say(f"{SENTENCES['es']} {said}")
        said += 1
        await asyncio.sleep(PACE_S)
    await fault
    await until(
        lambda: len(listening.named("receive_message")) >= said,
        within=30,
        what="all messages received",
    )
    numbers = [told["content"].split()[-1] for told in listening.named("receive_message")]
    assert numbers == [str(number) for number in range(said)]
