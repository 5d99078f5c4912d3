"""Two users who talk during a fault, with clients that reconnect, resume and send again."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx2

from ashchat_dev.client import Person, RequestRefusedError
from ashchat_dev.conversation import SENTENCES, messages_of
from ashchat_dev.phoenix import Channel, Payload
from ashchat_dev.waiting import until
from ashchat_e2e.history import History
from ashchat_e2e.resuming import Resuming

PACE_S = 0.15
"""Between two messages of one user."""

Fault = Callable[[], Awaitable[None]]


@dataclass(eq=False, kw_only=True)
class Talker(Resuming):
    """A user with a protocol 2 client that reconnects and retries."""

    history: History
    heard: list[Payload] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)

    def joined(self, channel: Channel, since: int | None) -> None:  # noqa: ARG002 (an override)
        """Check that the server replays what was missed."""
        assert channel.response["reset"] is False

    def received(self, event: Payload) -> None:
        """Record an event."""
        assert self.rev is None or event["rev"] > self.rev, "out of order"
        self.heard.append(event)

    async def say(self, text: str) -> None:
        """Send a message until it is acknowledged."""
        ref = str(uuid.uuid4())
        self.history.send(self.chat_id, self.person.user_id, ref)
        reply = await self.ask("send_message", {"content": text, "mobile_ref_id": ref})
        assert reply is not None
        assert reply.status == "ok", reply
        self.history.acknowledged(ref)
        self.acknowledged.add(ref)

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
    one, other = Talker(ana, chat_id, history=history), Talker(ben, chat_id, history=history)
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
