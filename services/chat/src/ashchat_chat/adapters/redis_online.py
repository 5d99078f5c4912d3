"""Who is online on which pod, in Redis; see `presence.OnlineStore`."""

import time
from collections.abc import Iterable

from ashchat_core.redis import Redis

ONLINE_PREFIX = "chat:online:"
ONLINE_SECONDS = 30
"""How long a user counts as online after the last report of a pod."""


class RedisOnline:
    """Sorted sets: a user's pods, each with the time until which its report is valid."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

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
