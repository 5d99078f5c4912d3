"""A session with RabbitMQ: a connection, a channel to publish on, and consumers."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from ashchat_core.credentials import Credential

BROKEN: Final = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError)
"""Errors that aio-pika raises if a connection or channel is not usable."""


@dataclass(slots=True, eq=False)
class Subscription:
    """One consumer on one channel of one session."""

    queue: Any
    tag: str
    ended: asyncio.Event
    """The channel closed, or the broker cancelled the consumer (its queue was deleted)."""


@dataclass(slots=True, eq=False)
class Session:
    """A connection with its publishing channel, its consumers and their work."""

    connection: AbstractConnection
    channel: AbstractChannel
    credential: Credential
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    working: set[asyncio.Task[None]] = field(default_factory=set)
    subscribers: set[asyncio.Task[None]] = field(default_factory=set)
    subscriptions: set[Subscription] = field(default_factory=set)
    exchanges: dict[str, Any] = field(default_factory=dict)


def error_name(error: BaseException) -> str:
    """Return an error's name; its message may contain the address, and so the password."""
    return type(error).__name__
