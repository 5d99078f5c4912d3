"""Redis between the pods: events by publish/subscribe, who is online, what is over.

The first two may lose: at most once is what Redis gives (https://redis.io/docs/latest/develop/pubsub/,
"Delivery semantics"). Every confirmed subscription, the automatic ones after a
reconnection too, is reported, so that the listener compares with the store.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from ashchat_chat import metrics
from ashchat_chat.channels import PRESENCE_CHANNEL, PROFILE_CHANNEL
from ashchat_chat.users.revocations import Over
from ashchat_core.redis import Redis

CONFIRM_SECONDS = 1.0
"""How long `subscribe` waits; then the regular comparison of heads has to do."""

PUBLISH_BATCH = 200
WAITING_MAX = 20_000
"""Publications kept while Redis is away; the oldest go first, the store has them."""

RECONNECT_SECONDS = 0.5
READ_SECONDS = 1.0
ONLINE_PREFIX = "chat:online:"
ONLINE_SECONDS = 30
"""How long a user counts as online after the last report of a pod."""

REVOKED_KEY = "chat:revoked"
REVOKED_PAGE = 1_000
REVOKED_WAIT_MS = 2_000
"""How long one read waits for something new: less than the client's time-out."""


def _outdated(pubsub: PubSub) -> bool:
    """Return whether the login has changed since the connection was opened.

    The library marks the connection and acts on it when it is given back, which a pub/sub
    connection never is.
    """
    connection: Any = pubsub.connection  # its type says None
    return connection is not None and bool(connection.should_reconnect())


class RedisFanout:
    """One publisher and one subscriber for the pod; see `ports.Fanout`."""

    def __init__(
        self,
        redis: Redis,
        *,
        heard: Callable[[str, str], None],
        subscribed: Callable[[str], None],
    ) -> None:
        self._redis = redis
        self._heard = heard
        self._subscribed = subscribed
        self._waiting: deque[tuple[str, str]] = deque(maxlen=WAITING_MAX)
        self._wake = asyncio.Event()
        self._wanted: set[str] = {PRESENCE_CHANNEL, PROFILE_CHANNEL}
        self._confirmed: set[str] = set()
        self._confirming: dict[str, asyncio.Future[None]] = {}
        self._changes: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()
        self._log = structlog.get_logger("fanout")

    def publish(self, channel: str, text: str) -> None:
        """Send, some time."""
        self._waiting.append((channel, text))
        self._wake.set()

    async def subscribe(self, channel: str) -> None:
        """Return when subscribed, or after a moment without (it is tried on)."""
        if channel in self._confirmed and channel in self._wanted:
            return
        future = self._confirming.get(channel)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._confirming[channel] = future
        self._wanted.add(channel)
        self._changes.put_nowait((True, channel))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONFIRM_SECONDS):
                await asyncio.shield(future)

    def unsubscribe(self, channel: str) -> None:
        """Hear no more of it."""
        self._wanted.discard(channel)
        self._changes.put_nowait((False, channel))

    async def run_publisher(self) -> None:
        """Send what waits, in batches; until cancelled."""
        attempt = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = [
                    self._waiting.popleft() for _ in range(min(PUBLISH_BATCH, len(self._waiting)))
                ]
                try:
                    async with self._redis.client.pipeline(transaction=False) as pipeline:
                        for channel, text in batch:
                            pipeline.execute_command("PUBLISH", self._redis.key(channel), text)
                        await pipeline.execute()
                except (RedisError, OSError) as error:
                    # Hearing an event twice is harmless, so all of the batch goes again.
                    self._waiting.extendleft(reversed(batch[: WAITING_MAX - len(self._waiting)]))
                    if attempt % 20 == 0:
                        self._log.warning("publishing to Redis failed", kind=type(error).__name__)
                    attempt += 1
                    await asyncio.sleep(RECONNECT_SECONDS)
                else:
                    attempt = 0

    async def run_subscriber(self) -> None:
        """Listen; reconnect and subscribe again when the connection breaks; until cancelled."""
        attempt = 0
        while True:
            pubsub = self._redis.client.pubsub()
            try:
                await self._listen(pubsub)
            except (RedisError, OSError) as error:
                if attempt % 20 == 0:
                    self._log.warning("subscribing to Redis failed", kind=type(error).__name__)
                attempt += 1
            finally:
                metrics.FANOUT_CONNECTED.set(0)
                self._confirmed.clear()
                with contextlib.suppress(RedisError, OSError, asyncio.CancelledError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self, pubsub: PubSub) -> None:
        while not self._changes.empty():
            self._changes.get_nowait()
        await pubsub.subscribe(*map(self._redis.key, sorted(self._wanted)))
        changes = asyncio.create_task(self._follow(pubsub))
        try:
            while not changes.done() and not _outdated(pubsub):
                message = await pubsub.get_message(timeout=READ_SECONDS)
                if message is not None:
                    self._take(message)
            if changes.done():
                changes.result()
        finally:
            changes.cancel()
            with contextlib.suppress(asyncio.CancelledError, RedisError, OSError):
                await changes

    async def _follow(self, pubsub: PubSub) -> None:
        """Carry subscriptions out in the order they were asked for, the last word only."""
        while True:
            _, channel = await self._changes.get()
            batch = {channel}
            while not self._changes.empty():
                batch.add(self._changes.get_nowait()[1])
            add = sorted(one for one in batch if one in self._wanted)
            drop = sorted(batch - set(add))
            if drop:
                self._confirmed.difference_update(drop)
                await pubsub.unsubscribe(*map(self._redis.key, drop))
            if add:
                await pubsub.subscribe(*map(self._redis.key, add))

    def _take(self, message: Mapping[str, Any]) -> None:
        channel = self._redis.bare(str(message["channel"]))
        match message["type"]:
            case "subscribe":
                metrics.FANOUT_CONNECTED.set(1)
                self._confirmed.add(channel)
                future = self._confirming.pop(channel, None)
                if future is not None and not future.done():
                    future.set_result(None)
                self._subscribed(channel)
            case "message":
                try:
                    self._heard(channel, str(message["data"]))
                except Exception:  # noqa: BLE001 (logged whole)
                    # Another version's message must not end what all rooms depend on.
                    self._log.exception("a publication is not valid")
            case _:
                pass

    # Who is online

    async def mark_online(self, users: Iterable[str], pod: str) -> None:
        """Say that these people are online here, for `ONLINE_SECONDS`.

        Raises:
            RedisError: Redis is away.
        """
        until = time.time() + ONLINE_SECONDS
        async with self._redis.client.pipeline(transaction=False) as pipeline:
            for user in users:
                pipeline.execute_command("ZADD", self._online(user), until, pod)
                pipeline.execute_command("EXPIRE", self._online(user), ONLINE_SECONDS * 2)
            await pipeline.execute()

    async def mark_offline(self, users: Iterable[str], pod: str) -> None:
        """Say that these people are online here no more.

        Raises:
            RedisError: Redis is away.
        """
        async with self._redis.client.pipeline(transaction=False) as pipeline:
            for user in users:
                pipeline.execute_command("ZREM", self._online(user), pod)
            await pipeline.execute()

    async def forget(self, user: str) -> None:
        """Delete everything about a user.

        Raises:
            RedisError: Redis is away.
        """
        await self._redis.client.delete(self._online(user))

    async def online(self, users: Iterable[str]) -> set[str]:
        """Return who of these people is online on any pod.

        Raises:
            RedisError: Redis is away.
        """
        asked = list(users)
        if not asked:
            return set()
        now = time.time()
        async with self._redis.client.pipeline(transaction=False) as pipeline:
            for user in asked:
                pipeline.execute_command("ZCOUNT", self._online(user), now, "+inf")
            counts = await pipeline.execute()
        return {user for user, count in zip(asked, counts, strict=True) if count}

    def _online(self, user: str) -> str:
        return self._redis.key(ONLINE_PREFIX + user)


class RedisRevocationLog:
    """A stream that all pods follow (https://redis.io/docs/latest/develop/data-types/streams/).

    Entries go when no access token of what they name can live any more.
    """

    def __init__(self, redis: Redis, *, keep_seconds: float) -> None:
        self._redis = redis
        self._key = redis.key(REVOKED_KEY)
        self._keep = keep_seconds

    async def add(self, over: Sequence[Over]) -> None:
        """Write; return when it is written.

        Raises:
            RedisError: Redis is away; it may be written.
        """
        oldest = int((time.time() - self._keep) * 1000)
        async with self._redis.client.pipeline(transaction=False) as pipeline:
            for one in over:
                pipeline.execute_command(
                    "XADD", self._key, "MINID", "~", oldest, "*", "kind", one.kind, "name",
                    one.name, "below", one.below, "but", one.but,
                )  # fmt: skip
            pipeline.execute_command("EXPIRE", self._key, int(self._keep) + 1)
            await pipeline.execute()

    async def after(self, cursor: str, *, wait: bool) -> tuple[str, list[Over]]:
        """Return what was written after a cursor, and the cursor behind it; at most a page.

        Raises:
            RedisError: Redis is away.
        """
        found: Any = await self._redis.client.xread(
            {self._key: cursor}, count=REVOKED_PAGE, block=REVOKED_WAIT_MS if wait else None
        )
        entries = found[0][1] if found else []
        return (
            entries[-1][0] if entries else cursor,
            # What a newer version writes of another kind names nobody that this one meets.
            [
                Over(
                    what.get("kind", ""),
                    what.get("name", ""),
                    int(what.get("below", 0)),
                    what.get("but", ""),
                )
                for _, what in entries
            ],
        )
