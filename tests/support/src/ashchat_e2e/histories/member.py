"""Clients whose operations and readings are recorded for the checks."""

import asyncio
import random
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ashchat_dev.client import Person
from ashchat_dev.conversation import EVENT
from ashchat_dev.phoenix import Channel, JoinRefusedError, Payload
from ashchat_e2e.histories.link import Link
from ashchat_e2e.histories.records import (
    DELETE,
    EDIT,
    MEMBERS,
    MESSAGE,
    REACTION,
    Operation,
    Run,
    Seen,
    Stay,
)
from ashchat_e2e.resuming import AGAIN_S, BROKEN, Resuming

PACE_S: Final = 0.3
"""Average pause between two operations of a member."""

FORGETS: Final = 0.1
"""How often a client forgets an operation whose answer was lost, instead of sending it again."""

ACKS: Final = 0.3
"""How often a client acknowledges what it has received, before an operation."""

MENTIONS: Final = 0.3
"""How often a text in a group mentions a member."""

TOGGLES: Final = 0.5
"""How often a reaction takes back an own one, or puts one again that was taken back."""

KINDS: Final = {MESSAGE: 70, EDIT: 12, DELETE: 6, REACTION: 12}
"""The kinds of operations, and how often of their sum."""

EMOJI: Final = ("👍", "😀", "🎉")
WORDS: Final = {"es": "La casa es grande", "en": "The house is big"}


@dataclass(frozen=True, slots=True)
class Named:
    """A member, and the tag by which others mention them."""

    user_id: str
    tag: str


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
    own: dict[str, str] = field(default_factory=dict)
    """Operation → message id, of this member's acknowledged messages that it has not deleted."""

    known: dict[str, str] = field(default_factory=dict)
    """Operation → message id, of the messages received."""

    reactions: dict[tuple[str, str], bool | None] = field(default_factory=dict)
    """(Operation, emoji) → whether this member's emoji is on that message; None: not known."""

    others: list[Named] = field(default_factory=list)
    """Members that this one may mention."""

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
        if event["kind"] == MESSAGE:
            self.known[event["mobile_ref_id"]] = event["message_id"]

    async def live(self, over: asyncio.Event) -> None:
        """Perform operations until the event is set; finish what has begun."""
        while not over.is_set():
            if self.draw.random() < ACKS:
                await self.acknowledge()
            once = self.draw.random() < FORGETS
            kind = self.draw.choices([*KINDS], [*KINDS.values()])[0]
            if kind == MESSAGE or not (self.own and self.known):
                await self.send(once=once)
            elif kind == REACTION:
                await self.react(self.draw.choice([*self.known]), once=once)
            elif kind == EDIT:
                await self.edit(self.draw.choice([*self.own]), once=once)
            else:
                await self.delete(self.draw.choice([*self.own]), once=once)
            await asyncio.sleep(self.draw.uniform(0, 2 * PACE_S))

    async def send(self, *, once: bool = False) -> None:
        """Send a message."""
        text, mentions = self._text()
        operation = self._begin(MESSAGE, mentions=mentions)
        payload = {"content": text, "mobile_ref_id": operation.id}
        answer = await self._do(operation, "send_message", payload, once=once)
        if answer is not None:
            self.own[operation.id] = answer["message_id"]

    async def edit(self, message: str, *, once: bool = False) -> None:
        """Change text and mentions of an own message, by the id of the operation that sent it."""
        text, mentions = self._text()
        operation = self._begin(EDIT, about=message, mentions=mentions)
        payload = {
            "message_id": self.own[message],
            "content": text,
            "mobile_ref_id": operation.id,
        }
        await self._do(operation, "edit_message", payload, once=once)

    async def delete(self, message: str, *, once: bool = False) -> None:
        """Delete an own message for all; it is not changed any more."""
        message_id = self.own.pop(message)
        operation = self._begin(DELETE, about=message, id=deletion(message_id))
        await self._do(operation, "delete_message", {"message_id": message_id}, once=once)

    async def react(self, message: str, *, once: bool = False) -> None:
        """Put an emoji on a message, or change an own reaction to any message to its opposite."""
        place = message, self.draw.choice(EMOJI)
        settled = [one for one, on in self.reactions.items() if on is not None]
        if settled and self.draw.random() < TOGGLES:
            place = self.draw.choice(settled)
        before = self.reactions.get(place, False)
        if before is None:
            # What follows would depend on what the lost answer was.
            return
        self.reactions[place] = None
        (message, emoji), on = place, not before
        message_id = self.known[message]
        own = reaction(message_id, self.person.user_id, emoji, on=on)
        operation = self.run.begin_again(
            Operation(own, self.chat_id, self.person.user_id, REACTION, about=message)
        )
        payload = {
            "message_id": message_id,
            "emoji": emoji,
            "on": on,
            # A repetition may be stuck in a frozen pod until after the opposite.
            "mobile_ref_id": str(uuid.uuid4()),
        }
        reply = await self.ask("react", payload, once=once)
        # A refusal may answer a repetition: the message was deleted by its sender meanwhile.
        if reply is not None and reply.status == "ok":
            operation.acknowledge(None)
            self.reactions[place] = on

    def _text(self) -> tuple[str, frozenset[str]]:
        """Return a text, and whom it mentions: a third mention another member of a group."""
        text = f"{WORDS[self.person.language]} {len(self.run.operations)}."
        if not self.others or self.draw.random() > MENTIONS:
            return text, frozenset()
        named = self.draw.choice(self.others)
        return f"{text} @{named.tag}", frozenset({named.user_id})

    def _begin(self, kind: str, **fields: Any) -> Operation:
        fields = {"id": str(uuid.uuid4()), **fields}
        return self.run.begin(
            Operation(room=self.chat_id, user=self.person.user_id, kind=kind, **fields)
        )

    async def _do(
        self, operation: Operation, event: str, payload: Payload, *, once: bool
    ) -> Payload | None:
        """Perform an operation and record its outcome; return the answer if it succeeded."""
        reply = await self.ask(event, payload, once=once)
        if reply is None:
            return None
        if reply.status != "ok":
            operation.refuse()
            return None
        operation.acknowledge(reply.response.get("rev"))
        return reply.response

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
    own = event.get("mobile_ref_id")
    if event["kind"] == DELETE:
        own = deletion(event["message_id"])
    if event["kind"] == REACTION:
        own = reaction(event["message_id"], event["by"], event["emoji"], on=event["on"])
    if event["kind"] == MEMBERS:
        first = event["changes"][0]
        own = membership(event["by"], first["user_id"], first["role"])
    return Seen(event["rev"], event["kind"], own)


def deletion(message_id: str) -> str:
    """Return the id of the operation that deletes a message: there can be only one."""
    return f"delete {message_id}"


def reaction(message_id: str, user_id: str, emoji: str, *, on: bool) -> str:
    """Return the id of the operation that puts a member's emoji on a message, or takes it back."""
    return f"{'put' if on else 'take back'} {message_id} {user_id} {emoji}"


def membership(by: str | None, user_id: str, role: str | None) -> str:
    """Return the id of the operation that makes a user a member with a role, or no member."""
    return f"{by} makes {user_id} {role or 'no member'}"


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
