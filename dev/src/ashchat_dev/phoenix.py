"""A client of Phoenix Channels, serializer version 2, for Python.

A frame is the JSON array `[join_ref, ref, topic, event, payload]`
(https://hexdocs.pm/phoenix/writing_a_channels_client.html). Both protocols of AshChat
travel in such frames; the join payload chooses the one of a channel.
"""

import asyncio
import itertools
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Origin

from ashchat_dev.phoenix_frames import (
    Closed,
    Event,
    Frame,
    JoinRefusedError,
    Payload,
    Reference,
    Reply,
    SocketLostError,
    SocketRefusedError,
    decode,
    encode,
)

__all__ = [
    "Channel",
    "Closed",
    "Event",
    "Frame",
    "FrameObserver",
    "JoinRefusedError",
    "Payload",
    "PhoenixSocket",
    "Reply",
    "SocketLostError",
    "SocketRefusedError",
    "anything",
    "decode",
    "encode",
]

HEARTBEAT_SECONDS: Final = 30.0
"""Seconds between heartbeats; Phoenix closes a socket that was silent for 60."""

_REPLY_SECONDS: Final = 15.0


def anything(_payload: Payload) -> bool:
    """Accept every payload."""
    return True


@dataclass(eq=False)
class _Waiter:
    name: str
    match: Callable[[Payload], bool]
    future: asyncio.Future[Event]


@dataclass(eq=False)
class Channel:
    """A joined topic. `events` holds everything pushed to it so far, oldest first."""

    socket: "PhoenixSocket"
    topic: str
    join_ref: str
    response: Payload = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    ended: str | None = None
    _waiters: list[_Waiter] = field(default_factory=list)

    async def push(self, event: str, payload: Payload, *, within: float = _REPLY_SECONDS) -> Reply:
        """Send an event and return the server's reply to it.

        Raises:
            SocketLostError: The connection ended before the reply; the server may have handled the
                event.
            TimeoutError: No reply in time.
        """
        return await self.socket.request(self.topic, event, payload, self.join_ref, within)

    async def send(self, event: str, payload: Payload) -> None:
        """Send an event without awaiting a reply (`typing` gets none).

        Raises:
            SocketLostError: The connection had ended.
        """
        await self.socket.send(self.topic, event, payload, self.join_ref)

    async def wait(
        self,
        name: str,
        match: Callable[[Payload], bool] = anything,
        *,
        within: float = 10.0,
        after: int = 0,
    ) -> Event:
        """Return the first matching event of a name, received already or in the future.

        Args:
            name: The event's name.
            match: What its payload must be like.
            within: Seconds to wait.
            after: How many of `events` do not count (`len(channel.events)` for "from now").

        Raises:
            SocketLostError: The connection ended first.
            TimeoutError: None arrived; the message lists what did.
        """
        for event in self.events[after:]:
            if event.name == name and match(event.payload):
                return event
        if self.socket.closed.done():
            raise SocketLostError(f"the socket is closed: {self.socket.closed.result()}")
        waiter = _Waiter(name, match, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(within):
                return await waiter.future
        except TimeoutError:
            had = [(event.name, event.payload) for event in self.events[-5:]]
            raise TimeoutError(
                f"no such {name} on {self.topic} within {within:g} s; the last events: {had}"
            ) from None
        finally:
            self._waiters.remove(waiter)

    def named(self, name: str) -> list[Payload]:
        """Return the payloads of all events of that name so far."""
        return [event.payload for event in self.events if event.name == name]

    async def leave(self) -> Reply:
        """Leave the topic.

        Raises:
            SocketLostError: The connection ended first.
        """
        reply = await self.push("phx_leave", {})
        self.socket.forget(self)
        return reply

    def receive(self, event: Event) -> None:
        """Store an event and wake those who wait for it."""
        self.events.append(event)
        if event.name in {"phx_close", "phx_error"}:
            self.ended = event.name
        for waiter in self._waiters:
            if (
                not waiter.future.done()
                and waiter.name == event.name
                and waiter.match(event.payload)
            ):
                waiter.future.set_result(event)

    def lost(self, closed: Closed) -> None:
        """Notify those who wait that the connection ended."""
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_exception(SocketLostError(f"the socket closed: {closed}"))


class FrameObserver(Protocol):
    """What sees every text frame of a socket."""

    def sent(self, text: str) -> None:
        """See what the client is about to send."""
        ...

    def received(self, text: str) -> None:
        """See what the server has sent."""
        ...


class PhoenixSocket:
    """One connection to a Phoenix endpoint; `closed` contains how it ended."""

    observers: ClassVar[list[Callable[[], FrameObserver]]] = []
    """Each makes an observer of every new socket; a test suite adds its own."""

    def __init__(
        self,
        url: str,
        params: Mapping[str, str],
        *,
        heartbeat_s: float = HEARTBEAT_SECONDS,
        trust: ssl.SSLContext | None = None,
        origin: str | None = None,
    ) -> None:
        self._trust = trust
        self._origin = origin
        self._url = f"{url}?{urlencode({**params, 'vsn': '2.0.0'})}"
        self._heartbeat_s = heartbeat_s
        self._refs = itertools.count(1)
        self._channels: dict[str, Channel] = {}
        self._replies: dict[str | int, asyncio.Future[Reply]] = {}
        self._sent_at: dict[str | int, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection: ClientConnection | None = None
        self._observers = [new() for new in self.observers]
        self.closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self, *, within: float = 10.0) -> None:
        """Open the connection.

        Raises:
            SocketRefusedError: The server refused the handshake or did not answer.
        """
        try:
            self._connection = await connect(
                self._url,
                open_timeout=within,
                # The protocol's own heartbeat is what the server looks for.
                ping_interval=None,
                close_timeout=2,
                proxy=None,
                compression=None,
                ssl=self._trust,
                origin=None if self._origin is None else Origin(self._origin),
            )
        except InvalidStatus as error:
            raise SocketRefusedError(
                error.response.status_code,
                f"the socket was refused with HTTP {error.response.status_code}",
            ) from error
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise SocketRefusedError(0, f"the socket did not open: {error!r}") from error
        for work in (self._read(), self._beat()):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def join(self, topic: str, payload: Payload | None = None) -> Channel:
        """Join a topic.

        Raises:
            JoinRefusedError: The server refused; its `response` has the reason.
            SocketLostError: The connection ended first.
            TimeoutError: No reply.
        """
        ref = self._next_ref()
        channel = Channel(self, topic, ref)
        # Known before the reply, since events may come right behind it.
        self._channels[topic] = channel
        reply = await self.request(topic, "phx_join", payload or {}, ref, _REPLY_SECONDS, ref=ref)
        if reply.status != "ok":
            self.forget(channel)
            raise JoinRefusedError(topic, reply.response)
        channel.response = reply.response
        return channel

    async def request(
        self,
        topic: str,
        event: str,
        payload: Payload,
        join_ref: Reference,
        within: float,
        *,
        ref: Reference = None,
    ) -> Reply:
        """Send a frame and return the reply to it.

        Raises:
            SocketLostError: The connection ended before the reply.
            TimeoutError: No reply in time.
        """
        own = ref or self._next_ref()
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[own] = future
        self._sent_at[own] = time.monotonic()
        try:
            await self._write(Frame(join_ref, own, topic, event, payload))
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            raise TimeoutError(f"no reply to {event} on {topic} within {within:g} s") from None
        finally:
            self._replies.pop(own, None)
            self._sent_at.pop(own, None)

    async def send(
        self, topic: str, event: str, payload: Payload, join_ref: str | None = None
    ) -> None:
        """Send a frame and await nothing.

        Raises:
            SocketLostError: The connection had ended.
        """
        await self._write(Frame(join_ref, self._next_ref(), topic, event, payload))

    async def heartbeat(self) -> Reply:
        """Send a heartbeat and return its reply.

        Raises:
            SocketLostError: The connection ended first.
            TimeoutError: No reply.
        """
        return await self.request("phoenix", "heartbeat", {}, None, _REPLY_SECONDS)

    async def send_text(self, text: str) -> None:
        """Send any text, as a broken client might.

        Raises:
            SocketLostError: The connection had ended.
        """
        if self._connection is None:
            raise SocketLostError("the socket was never opened")
        for observer in self._observers:
            observer.sent(text)
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise SocketLostError(f"the socket closed: {error}") from error

    async def close(self) -> None:
        """Close the connection and end the tasks."""
        if self._connection is not None:
            await self._connection.close()
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def forget(self, channel: Channel) -> None:
        """Forget a channel whose topic was left."""
        if self._channels.get(channel.topic) is channel:
            del self._channels[channel.topic]

    def _next_ref(self) -> str:
        return str(next(self._refs))

    async def _write(self, frame: Frame) -> None:
        await self.send_text(encode(frame))

    async def _beat(self) -> None:
        with suppress(SocketLostError, TimeoutError):
            while True:
                await asyncio.sleep(self._heartbeat_s)
                await self.heartbeat()

    async def _read(self) -> None:
        connection = self._connection
        if connection is None:
            return
        with suppress(ConnectionClosed):
            async for text in connection:
                if isinstance(text, str):
                    for observer in self._observers:
                        observer.received(text)
                    self._dispatch(decode(text))
        end = Closed(connection.close_code or 1006, connection.close_reason or "")
        if not self.closed.done():
            self.closed.set_result(end)
        for future in self._replies.values():
            if not future.done():
                future.set_exception(SocketLostError(f"the socket closed: {end}"))
        for channel in self._channels.values():
            channel.lost(end)

    def _dispatch(self, frame: Frame) -> None:
        now = time.monotonic()
        if frame.event == "phx_reply" and frame.ref is not None:
            future = self._replies.get(frame.ref)
            if future is not None and not future.done():
                future.set_result(
                    Reply(
                        frame.payload.get("status", ""),
                        frame.payload.get("response") or {},
                        now - self._sent_at.get(frame.ref, now),
                    )
                )
            return
        channel = self._channels.get(frame.topic)
        # A frame of an earlier join of the same topic is stale (as in Phoenix's own client).
        if channel is not None and frame.join_ref in {None, channel.join_ref}:
            channel.receive(Event(frame.event, frame.payload, now))
