"""Publish/subscribe between the pods, for what is true for seconds: typing, presence, profiles.

Redis delivers it at most once (https://redis.io/docs/latest/develop/pubsub/, "Delivery semantics"),
and nothing here makes that good. Committed events use `redis_streams`.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from ashchat_chat.channels import ALL
from ashchat_core.redis import Redis

PUBLISH_BATCH = 200
WAITING_MAX = 1_000
"""Publications kept while Redis is away; the oldest are dropped first."""

RECONNECT_SECONDS = 0.5
READ_SECONDS = 1.0


def _outdated(pubsub: PubSub) -> bool:
    """Return whether the login has changed since the connection was opened.

    The library marks the connection and acts on it when it is given back, which a pub/sub
    connection never is.
    """
    connection: Any = pubsub.connection  # its type says None
    return connection is not None and bool(connection.should_reconnect())


class RedisPubSub:
    """One publisher and one subscriber for the pod; see `ports.Fanout`."""

    def __init__(self, redis: Redis, *, heard: Callable[[str, str], None]) -> None:
        self._redis = redis
        self._heard = heard
        self._waiting: deque[tuple[str, str]] = deque(maxlen=WAITING_MAX)
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("pubsub")

    def publish(self, channel: str, text: str) -> None:
        """Publish soon, if Redis answers."""
        self._waiting.append((channel, text))
        self._wake.set()

    async def run_publisher(self) -> None:
        """Publish what waits, in batches; until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                count = min(PUBLISH_BATCH, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                try:
                    async with self._redis.client.pipeline(transaction=False) as pipeline:
                        for channel, text in batch:
                            pipeline.execute_command("PUBLISH", self._redis.key(channel), text)
                        await pipeline.execute()
                except (RedisError, OSError) as error:
                    self._log.info("publishing failed", kind=type(error).__name__)
                    await asyncio.sleep(RECONNECT_SECONDS)

    async def run_subscriber(self) -> None:
        """Receive; subscribe again when the connection breaks; until cancelled."""
        while True:
            pubsub = self._redis.client.pubsub()
            try:
                await pubsub.subscribe(*map(self._redis.key, ALL))
                while not _outdated(pubsub):
                    message = await pubsub.get_message(timeout=READ_SECONDS)
                    if message is not None and message["type"] == "message":
                        self._receive(message)
            except (RedisError, OSError) as error:
                self._log.info("subscribing failed", kind=type(error).__name__)
            finally:
                with contextlib.suppress(RedisError, OSError, asyncio.CancelledError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RECONNECT_SECONDS)

    def _receive(self, message: Mapping[str, Any]) -> None:
        try:
            self._heard(self._redis.bare(str(message["channel"])), str(message["data"]))
        except Exception:  # noqa: BLE001 (logged whole)
            # Another version's message must not end what all users depend on.
            self._log.exception("a publication is not valid")
