"""A user's client that reconnects, resumes, and resends until a message is acknowledged.

It behaves as a good client does, so that failures are those of the platform.
"""

import asyncio
import uuid
from collections import Counter
from contextlib import suppress
from typing import Any, Self

from ashchat_dev.client import Person
from ashchat_dev.conversation import EVENT
from ashchat_dev.phoenix import Channel, JoinRefusedError, SocketLostError, SocketRefusedError
from ashchat_e2e.history import History

PATIENCE_S = 120.0
"""Seconds after which an unacknowledged message counts as the platform's failure."""

PAUSE_S = 0.25

TRANSIENT = frozenset({"unavailable", "rate_limited", "not_joined"})
"""Refusal reasons after which the same send may succeed shortly."""

OK = 200
TOKEN_EXPIRED = 4401
"""The close code of a socket whose token expired."""


class Steadfast:
    """One user in one chat, with protocol 2, recorded in a history."""

    def __init__(self, person: Person, chat_id: str, history: History) -> None:
        self.person = person
        self.chat_id = chat_id
        self._history = history
        self._rev = 0
        self._channel: Channel | None = None
        self._lock = asyncio.Lock()
        self.heard: list[str] = []
        """References of the messages received over the socket, in order of arrival."""
        self.translated: dict[str, str] = {}
        """Reference → the translation received over the socket."""
        self._ids: dict[str, str] = {}
        self._listening: asyncio.Task[None] | None = None
        self.refused: Counter[str] = Counter()
        """How often a send was refused for the moment, by reason; it was then sent again."""
        self.reconnects = -1
        """How often a socket was lost, except because its token had expired."""

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen())
        await self._joined()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening

    async def send(self, text: str) -> str:
        """Send a message until it is acknowledged; return its reference.

        Raises:
            AssertionError: The platform refused it for good, or did not accept it in time.
        """
        ref = str(uuid.uuid4())
        self._history.send(self.chat_id, self.person.user_id, ref)
        last: Any = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        channel = await self._joined()
                        reply = await channel.push(
                            "send_message", {"content": text, "mobile_ref_id": ref}, within=10
                        )
                    except (SocketLostError, TimeoutError) as error:
                        last = error
                    else:
                        if reply.status == "ok":
                            self._history.acknowledged(ref)
                            return ref
                        last = reply.response
                        if reply.response.get("reason") not in TRANSIENT:
                            break
                        self.refused[str(last["reason"])] += 1
                    await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            raise AssertionError(f"not acknowledged within {PATIENCE_S} s: {last}") from None
        raise AssertionError(f"refused for good: {last}")

    async def _joined(self) -> Channel:
        """Return the channel of a live connection; resume after the last revision received."""
        while True:
            async with self._lock:
                channel = self._channel
                if channel is not None and not channel.socket.closed.done():
                    return channel
                expired = channel is not None and _expired(channel)
                if expired and (await self.person.refresh()).status != OK:
                    await asyncio.sleep(PAUSE_S)
                    continue
                with suppress(SocketRefusedError, SocketLostError, JoinRefusedError, TimeoutError):
                    socket = await self.person.socket()
                    self._channel = await socket.join(
                        f"chat:{self.chat_id}", {"protocol": 2, "since": self._rev}
                    )
                    self.reconnects += not expired
                    return self._channel
            await asyncio.sleep(PAUSE_S)

    async def _listen(self) -> None:
        while True:
            channel = await self._joined()
            seen = 0
            while not channel.socket.closed.done():
                seen = self._take(channel, seen)
                with suppress(SocketLostError, TimeoutError):
                    await channel.wait(EVENT, after=seen, within=1)
            self._take(channel, seen)

    def _take(self, channel: Channel, seen: int) -> int:
        for event in channel.events[seen:]:
            if event.name == EVENT and event.payload["rev"] > self._rev:
                self._rev = event.payload["rev"]
                self._event(event.payload)
        return len(channel.events)

    def _event(self, payload: dict[str, Any]) -> None:
        match payload["kind"]:
            case "message":
                self._ids[payload["message_id"]] = payload["mobile_ref_id"]
                self.heard.append(payload["mobile_ref_id"])
            case "translation" if payload["outcome"] == "translated":
                self.translated[self._ids[payload["message_id"]]] = payload["content"]
            case _:
                pass


def _expired(channel: Channel) -> bool:
    """Return whether a socket was closed because its token expired."""
    closed = channel.socket.closed
    return closed.done() and not closed.cancelled() and closed.result().code == TOKEN_EXPIRED
