"""Users in one chat, in either protocol: sends, deliveries and their durations."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from ashchat_dev.client import Person, RequestRefusedError
from ashchat_dev.phoenix import Channel, Event, Payload

Protocol = Literal[1, 2]

RECONNECTS: Final = 40
"""Tries to get another pod; with two pods all of them fail once in 2**40 times."""

EVENT: Final = "event"
"""Protocol 2 pushes every change of the room under this name; `kind` says which."""

TEXTS: Final = frozenset({"message", "edit"})
"""The kinds of events whose text is translated."""

HEARD_SECONDS: Final = 20.0
"""Seconds to wait for a message or its translation."""


@dataclass(frozen=True, slots=True)
class Said:
    """A message that was sent: its text, the client's reference, and the time."""

    text: str
    ref: str
    sender_id: str
    at: float
    """time.monotonic() right before it was sent."""
    reply: Payload

    @property
    def message_id(self) -> str:
        """The message's id; an edit has that of the edited message."""
        return str(self.reply["message_id"])


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as the other user received it."""

    original: str
    text: str
    """The displayed text: the translation, or the original if there is none."""
    original_seconds: float
    translation_seconds: float | None
    reason: str = ""
    """Why there is no translation, where the service says."""


class NotSentError(RuntimeError):
    """The service refused a message; the reply says why."""


class Participant:
    """A person in a chat, over one socket."""

    def __init__(self, person: Person, channel: Channel, protocol: Protocol) -> None:
        self.person = person
        self.channel = channel
        self.protocol = protocol
        self._taken = 0

    @classmethod
    async def join(
        cls, person: Person, chat_id: str, protocol: Protocol = 2, **extra: Any
    ) -> "Participant":
        """Open a socket and join the chat on it.

        Raises:
            SocketRefusedError: The server refused the socket.
            JoinRefusedError: The server refused the join.
        """
        channel = await person.join_chat(chat_id, protocol=protocol, **extra)
        return cls(person, channel, protocol)

    @property
    def pod(self) -> str:
        """The chat pod of the socket; empty in protocol 1, which does not report it."""
        return str(self.channel.response.get("pod", ""))

    async def close(self) -> None:
        """Close the socket."""
        await self.channel.socket.close()

    async def say(self, text: str, ref: str | None = None, **more: str) -> Said:
        """Send a message and return once the service has stored it.

        Args:
            text: What to say.
            ref: The client's own id of the message; a new one by default.
            more: Further fields: `reply_to`, a message's id.

        Raises:
            NotSentError: The service refused it.
            SocketLostError, TimeoutError: Whether the service stored it is unknown.
        """
        own = ref or str(uuid.uuid4())
        started = time.monotonic()
        payload = {"content": text, "mobile_ref_id": own, **more}
        stored = await self._request("send_message", payload)
        return Said(text, own, self.person.user_id, started, stored)

    async def edit(self, message_id: str, text: str) -> Said:
        """Give an own message another text; `hear` awaits it as it does a message.

        Raises:
            NotSentError: The service refused it.
            SocketLostError, TimeoutError: Whether the service stored it is unknown.
        """
        own, started = str(uuid.uuid4()), time.monotonic()
        payload = {"message_id": message_id, "content": text, "mobile_ref_id": own}
        stored = await self._request("edit_message", payload)
        return Said(text, own, self.person.user_id, started, {**stored, "message_id": message_id})

    async def react(self, message_id: str, emoji: str) -> float:
        """Put an emoji on a message; return time.monotonic() right before.

        Raises:
            NotSentError: The service refused it.
            SocketLostError, TimeoutError: Whether the service stored it is unknown.
        """
        started = time.monotonic()
        await self._request("react", {"message_id": message_id, "emoji": emoji})
        return started

    async def see(self, message_id: str, emoji: str, *, within: float = HEARD_SECONDS) -> float:
        """Return time.monotonic() of a reaction's arrival.

        Raises:
            SocketLostError, TimeoutError: It did not arrive.
        """
        reaction = await self.channel.wait(
            EVENT,
            lambda event: (
                (event["kind"], event.get("message_id"), event.get("emoji"))
                == ("reaction", message_id, emoji)
            ),
            within=within,
        )
        return reaction.at

    async def _request(self, event: str, payload: Payload) -> Payload:
        reply = await self.channel.push(event, payload)
        if reply.status != "ok":
            raise NotSentError(f"{event} {payload} was refused: {reply.response}")
        return reply.response

    async def hear(self, said: Said, *, within: float = HEARD_SECONDS) -> Heard:
        """Return another user's message, or its new text, as this user receives it.

        In protocol 1 messages carry no reference, so they must be awaited in order.

        Raises:
            SocketLostError, TimeoutError: It did not arrive.
        """
        if self.protocol == 1:
            return await self._hear_once(said, within)
        original = await self.channel.wait(
            EVENT,
            lambda event: event["kind"] in TEXTS and event["mobile_ref_id"] == said.ref,
            within=within,
        )
        heard_after = original.at - said.at
        content = original.payload["content"]
        if self.person.language not in original.payload["targets"]:
            return Heard(content, content, heard_after, None)
        version = (original.payload["message_id"], original.payload["text_version"])
        translation = await self.channel.wait(
            EVENT,
            lambda event: (
                event["kind"] == "translation"
                and (event["message_id"], event["text_version"]) == version
            ),
            within=within,
        )
        return Heard(
            content,
            translation.payload["content"] or content,
            heard_after,
            translation.at - said.at,
            translation.payload["reason"] or "",
        )

    async def _hear_once(self, said: Said, within: float) -> Heard:
        event = await self._next(said.sender_id, within)
        took = event.at - said.at
        return Heard(said.text, event.payload["content"], took, took)

    async def _next(self, sender_id: str, within: float) -> Event:
        event = await self.channel.wait(
            "receive_message",
            lambda payload: payload["sender_id"] == sender_id,
            after=self._taken,
            within=within,
        )
        self._taken = self.channel.events.index(event) + 1
        return event


async def on_different_pods(
    people: Sequence[Person], chat_id: str, *, tries: int = RECONNECTS
) -> list[Participant]:
    """Join a chat with everybody on another chat pod, as far as there are pods.

    The edge and the Service choose the pod, so the last one reconnects until it is another;
    with a single pod they all end there.

    Raises:
        SocketRefusedError, JoinRefusedError: The server refused.
    """
    joined: list[Participant] = []
    for person in people:
        participant = await Participant.join(person, chat_id)
        for _ in range(tries):
            if participant.pod not in {other.pod for other in joined}:
                break
            await participant.close()
            participant = await Participant.join(person, chat_id)
        joined.append(participant)
    return joined


async def converse(
    first: Person, second: Person, chat_id: str | None = None, *, protocol: Protocol = 2
) -> str:
    """Let two users exchange one sentence each; return the id of their chat.

    Raises:
        RequestRefusedError, SocketRefusedError, JoinRefusedError, NotSentError,
        SocketLostError, TimeoutError: The conversation failed.
    """
    room = chat_id or await first.open_chat(await second.tag())
    one, other = await asyncio.gather(
        Participant.join(first, room, protocol), Participant.join(second, room, protocol)
    )
    for speaker, listener in ((one, other), (other, one)):
        said = await speaker.say(SENTENCES.get(speaker.person.language, "Hello!"))
        await listener.hear(said)
    await asyncio.gather(one.close(), other.close())
    return room


SENTENCES: Final = {"es": "La casa es grande.", "en": "The dog is black."}


async def messages_of(person: Person, chat_id: str) -> list[dict[str, Any]]:
    """Return everything a person can read in a chat, oldest first, page by page.

    Raises:
        RequestRefusedError: The service does not return it.
    """
    found: list[dict[str, Any]] = []
    query: dict[str, int] = {"limit": 100}
    while True:
        reply = await person.chat.get(f"/chats/{chat_id}/messages", params=query)
        if reply.status != HTTPStatus.OK:
            raise RequestRefusedError("messages", reply)
        page = reply.body["messages"]
        found = [*page, *found]
        if not reply.body["more_before"] or not page:
            return found
        query["before"] = page[0]["n"]
