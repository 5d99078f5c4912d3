"""The translation cache in Redis."""

import asyncio
import time

import structlog
from redis.exceptions import RedisError

from ashchat_core.redis import Redis
from ashchat_translate import metrics

OPERATION_SECONDS = 0.5
"""A cache that is slower than this is slower than translating anew."""

REST_SECONDS = 2.0
"""After a failure nobody asks for so long, so that an outage costs one wait, not all."""


class RedisCache:
    """Translations in Redis. Whatever is wrong with it, everything is a miss."""

    def __init__(self, redis: Redis, *, keep_seconds: int) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds
        self._rest_until = 0.0
        self._log = structlog.get_logger("cache")

    async def get(self, key: str) -> str | None:
        """Return what was stored under a key."""
        if self._resting:
            metrics.CACHE.labels("unavailable").inc()
            return None
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                value = await self._redis.client.get(self._redis.key(key))
        except (RedisError, OSError, TimeoutError) as error:
            metrics.CACHE.labels("unavailable").inc()
            self._rest(error)
            return None
        metrics.CACHE.labels("miss" if value is None else "hit").inc()
        return value if isinstance(value, str) else None

    async def put(self, key: str, value: str) -> None:
        """Store a value; it may be gone at any time."""
        if self._resting:
            return
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                await self._redis.client.set(self._redis.key(key), value, ex=self._keep_seconds)
        except (RedisError, OSError, TimeoutError) as error:
            self._rest(error)

    async def keep(self) -> None:
        """Log in as soon as it is there, then follow its credentials; until cancelled.

        Not a check of the start: translating does not wait for its cache. But a rotation
        waits for the word that the login is in use.
        """
        while True:
            try:
                await self._redis.ping()
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(REST_SECONDS)
            else:
                break
        await self._redis.watch()

    @property
    def _resting(self) -> bool:
        return time.monotonic() < self._rest_until

    def _rest(self, error: Exception) -> None:
        self._rest_until = time.monotonic() + REST_SECONDS
        self._log.warning("translating without the cache", kind=type(error).__name__)
