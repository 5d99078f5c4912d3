"""A client of one chat that does what docs/reference/protocol.md requires after an interruption.

It stores the last `rev`, reconnects, resumes from it, and sends unanswered requests again.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ashchat_dev.client import Person
from ashchat_dev.conversation import EVENT
from ashchat_dev.phoenix import (
    Channel,
    JoinRefusedError,
    Payload,
    Reply,
    SocketLostError,
    SocketRefusedError,
)

BROKEN = (SocketLostError, SocketRefusedError, JoinRefusedError, TimeoutError, OSError)
"""Errors that a client meets during an outage; it retries."""

AGAIN_S = 0.2
UNANSWERED_S = 5.0
"""Seconds after which a client gives up a connection on which a request was not answered."""

BEAT_S = 3.0
"""Between two heartbeats, which detect a connection that is half-open."""

FOR_NOW = frozenset({"unavailable", "rate_limited"})
"""Reasons of refusals after which the same request may succeed shortly."""

EXPIRED, OK = 4401, 200


@dataclass(eq=False)
class Resuming:
    """A user with a protocol 2 client that reconnects, resumes and retries."""

    person: Person
    chat_id: str
    pods: list[str] = field(default_factory=list)
    """The pods of all joins, in order."""

    rev: int | None = None
    """The highest revision that was processed."""

    resumed: int = 0
    _channel: Channel | None = None
    _taken: int = 0
    _connecting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def joined(self, channel: Channel, since: int | None) -> None:
        """Note a join; called before its events are."""

    def received(self, event: Payload) -> None:
        """Note an event; called once for each, in order of arrival."""

    async def channel(self) -> Channel:
        """Return the joined channel; reconnect and resume if it was lost."""
        async with self._connecting:
            while True:
                if self._channel is not None:
                    self.take()
                    if not self._channel.socket.closed.done() and self._channel.ended is None:
                        return self._channel
                    await self._close(self._channel)
                with suppress(*BROKEN):
                    channel = await self._open()
                    self._channel, self._taken = channel, 0
                    self.resumed += self.rev is not None
                    self.pods.append(channel.response["pod"])
                    self.joined(channel, self.rev)
                    if self.rev is None or channel.response["reset"]:
                        self.rev = channel.response["rev"]
                    return channel
                await asyncio.sleep(AGAIN_S)

    def take(self) -> None:
        """Process new events."""
        if self._channel is None:
            return
        events = self._channel.events
        for event in events[self._taken :]:
            if event.name == EVENT:
                self.received(event.payload)
                self.rev = event.payload["rev"]
        self._taken = len(events)

    async def stay(self) -> None:
        """Stay connected until cancelled."""
        loop = asyncio.get_running_loop()
        beaten = loop.time()
        while True:
            channel = await self.channel()
            await asyncio.wait({channel.socket.closed}, timeout=AGAIN_S)
            if loop.time() - beaten > BEAT_S:
                with suppress(SocketLostError, TimeoutError):
                    await self._answered(channel, "phoenix", "heartbeat", {})
                beaten = loop.time()

    async def ask(self, event: str, payload: Payload, *, once: bool = False) -> Reply | None:
        """Send a request until it is answered for good; return the answer.

        Args:
            event: The event.
            payload: Its payload. It is sent again as it is, so it must be idempotent.
            once: Give up, and return None, when the answer is lost.
        """
        while True:
            channel = await self.channel()
            with suppress(*BROKEN):
                reply = await self._answered(channel, channel.topic, event, payload)
                reason = reply.response.get("reason")
                # The server may have ended the join while the request was on its way.
                rejoin = reason == "not_joined" and channel.ended is not None
                if reply.status == "ok" or not (rejoin or reason in FOR_NOW):
                    return reply
            if once:
                return None
            await asyncio.sleep(AGAIN_S)

    async def close(self) -> None:
        """Process what has arrived, and close the connection."""
        self.take()
        if self._channel is not None:
            await self._close(self._channel)

    async def _open(self) -> Channel:
        """Join on a new socket, which is closed if the join is refused."""
        since: dict[str, Any] = {} if self.rev is None else {"since": self.rev}
        socket = await self.person.socket()
        try:
            return await self.person.join_chat(self.chat_id, socket=socket, **since)
        except BROKEN:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await socket.close()
            raise

    async def _answered(self, channel: Channel, topic: str, event: str, payload: Payload) -> Reply:
        """Return the answer; give up a connection without one: its server may be unreachable."""
        join_ref = channel.join_ref if topic == channel.topic else None
        try:
            return await channel.socket.request(topic, event, payload, join_ref, UNANSWERED_S)
        except TimeoutError:
            self.take()
            await self._close(channel)
            raise

    async def _close(self, channel: Channel) -> None:
        if self._channel is channel:
            self._channel = None
        closed = channel.socket.closed
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await channel.socket.close()
        if closed.done() and not closed.cancelled() and closed.result().code == EXPIRED:
            await self.person.refresh()
