"""The open sockets of all users on all pods, in Redis; see `online.OnlineStore`."""

import time
from collections.abc import Collection
from typing import Any, Final

from ashchat_chat.users.online import OnlineSocket, Sockets
from ashchat_core.redis import Redis

ONLINE_PREFIX: Final = "chat:online:"
ONLINE_SECONDS: Final = 30
"""How long a socket counts as open after the last report of its pod."""

PIPELINE_MAX: Final = 500
"""Maximum users in one pipeline."""

_ENTER: Final = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


class RedisOnline:
    """A sorted set for each user: their sockets, each with the time until which it counts."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._enter = redis.client.register_script(_ENTER)

    async def enter(self, user: str, socket: OnlineSocket, limit: int) -> bool:
        """Report a socket for ONLINE_SECONDS; return False if the user has `limit` on all pods.

        Raises:
            RedisError: Redis does not answer.
        """
        now = time.time()
        arguments: list[str | float] = [
            now,
            now + ONLINE_SECONDS,
            socket.encode(),
            limit,
            2 * ONLINE_SECONDS,
        ]
        return bool(await self._enter(keys=[self._key(user)], args=arguments))

    async def refresh(self, sockets: Sockets) -> None:
        """Report sockets for ONLINE_SECONDS.

        Raises:
            RedisError: Redis does not answer.
        """
        until = time.time() + ONLINE_SECONDS
        for part in _parts(sockets):
            async with self._redis.client.pipeline(transaction=False) as pipeline:
                for user in part:
                    entries = [value for one in sockets[user] for value in (until, one.encode())]
                    pipeline.execute_command("ZADD", self._key(user), *entries)
                    pipeline.execute_command("EXPIRE", self._key(user), 2 * ONLINE_SECONDS)
                await pipeline.execute()

    async def leave(self, sockets: Sockets) -> None:
        """Report that sockets are closed.

        Raises:
            RedisError: Redis does not answer.
        """
        for part in _parts(sockets):
            async with self._redis.client.pipeline(transaction=False) as pipeline:
                for user in part:
                    names = [socket.encode() for socket in sockets[user]]
                    pipeline.execute_command("ZREM", self._key(user), *names)
                await pipeline.execute()

    async def forget(self, user: str) -> None:
        """Delete everything about a user.

        Raises:
            RedisError: Redis does not answer.
        """
        await self._redis.client.delete(self._key(user))

    async def sockets(self, users: Collection[str]) -> dict[str, set[OnlineSocket]]:
        """Return the sockets of users on all pods.

        Raises:
            RedisError: Redis does not answer.
        """
        now = time.time()
        result: dict[str, set[OnlineSocket]] = {}
        for part in _parts(users):
            async with self._redis.client.pipeline(transaction=False) as pipeline:
                for user in part:
                    pipeline.execute_command("ZRANGEBYSCORE", self._key(user), now, "+inf")
                answers: list[Any] = await pipeline.execute()
            for user, found in zip(part, answers, strict=True):
                result[user] = {OnlineSocket.decode(one) for one in found}
        return result

    def _key(self, user: str) -> str:
        return self._redis.key(ONLINE_PREFIX + user)


def _parts(users: Collection[str]) -> list[list[str]]:
    listed = list(users)
    return [listed[start : start + PIPELINE_MAX] for start in range(0, len(listed), PIPELINE_MAX)]
