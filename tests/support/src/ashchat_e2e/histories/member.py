"""Clients whose operations and readings are recorded for the checks."""

import asyncio
import random
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from ashchat_dev.client import Person
from ashchat_dev.conversation import EVENT
from ashchat_dev.phoenix import Channel, JoinRefusedError, Payload
from ashchat_e2e.histories.link import Link
from ashchat_e2e.histories.records import MESSAGE, Operation, Outcome, Run, Seen, Stay
from ashchat_e2e.resuming import AGAIN_S, BROKEN, Resuming

PACE_S: Final = 0.3
"""Average pause between two operations of a member."""

FORGETS: Final = 0.1
"""How often a client forgets an operation whose answer was lost, instead of sending it again."""

ACKS: Final = 0.3
"""How often a client acknowledges what it has received, before an operation."""

WORDS: Final = {"es": "La casa es grande", "en": "The house is big"}


@dataclass(eq=False, kw_only=True)
class Member(Resuming):
    """A member of a room, whose sockets lead through a link that may fail."""

    run: Run
    draw: random.Random
    n: int = 0
    """The number of the newest message received."""

    acknowledged: int = 0
    """The highest number whose reading was acknowledged to this member."""

    stays: list[Stay] = field(default_factory=list)

    def joined(self, channel: Channel, since: int | None) -> None:
        """Record the beginning of a stay."""
        answer = channel.response
        stay = Stay(
            self.chat_id, self.person.user_id, self.person.language, since, answer["rev"],
            reset=answer["reset"],
        )  # fmt: skip
        self.stays.append(stay)
        self.run.stays.append(stay)

    def received(self, event: Payload) -> None:
        """Record an event."""
        self.stays[-1].seen.append(seen(event))
        self.n = max(self.n, int(event.get("n", 0)))

    async def live(self, over: asyncio.Event) -> None:
        """Perform operations until the event is set; finish what has begun."""
        while not over.is_set():
            if self.draw.random() < ACKS:
                await self.acknowledge()
            await self.send(once=self.draw.random() < FORGETS)
            await asyncio.sleep(self.draw.uniform(0, 2 * PACE_S))

    async def send(self, *, once: bool = False) -> None:
        """Send a message."""
        operation = self.run.begin(
            Operation(str(uuid.uuid4()), self.chat_id, self.person.user_id, MESSAGE)
        )
        text = f"{WORDS[self.person.language]} {len(self.run.operations)}."
        payload = {"content": text, "mobile_ref_id": operation.id}
        reply = await self.ask("send_message", payload, once=once)
        if reply is not None and reply.status == "ok":
            operation.acknowledge(reply.response["rev"])
        elif reply is not None:
            operation.refuse()

    async def acknowledge(self) -> None:
        """Report everything received as read."""
        self.take()
        if not self.n:
            return
        reply = await self.ask("ack", {"n": self.n})
        if reply is not None and reply.status == "ok":
            self.acknowledged = max(self.acknowledged, int(reply.response["n"]))


def seen(event: Payload) -> Seen:
    """Return an event of protocol 2 as a record."""
    return Seen(event["rev"], event["kind"], event.get("mobile_ref_id"))


@dataclass(eq=False)
class Outsider:
    """A user who tries to join rooms that they are not a member of."""

    person: Person
    rooms: Sequence[str]
    run: Run
    refused: int = 0

    async def pry(self) -> None:
        """Try to join each room in turn until cancelled; record what is received."""
        while True:
            for room in self.rooms:
                with suppress(*BROKEN):
                    await self._try(room)
                await asyncio.sleep(AGAIN_S)

    async def _try(self, room: str) -> None:
        socket = await self.person.socket()
        try:
            channel = await socket.join(f"chat:{room}", {"protocol": 2, "since": 0})
        except JoinRefusedError as refusal:
            self.refused += refusal.reason == "chat_not_found"
            return
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await socket.close()
        stay = Stay(room, self.person.user_id, self.person.language, 0, channel.response["rev"])
        stay.seen = [seen(event.payload) for event in channel.events if event.name == EVENT]
        self.run.stays.append(stay)


def through(person: Person, link: Link) -> Person:
    """Let a user's sockets lead through a link; requests do not."""
    person.environment = replace(person.environment, url=link.url)
    return person


def lost(run: Run) -> list[Operation]:
    """Return the operations whose answers were lost."""
    return [each for each in run.operations.values() if each.outcome is Outcome.UNKNOWN]
