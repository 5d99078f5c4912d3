"""The translation cache in Redis."""

import asyncio
import time
from typing import Final

import structlog
from redis.exceptions import RedisError

from ashchat_core.redis import Redis
from ashchat_translate import metrics

OPERATION_SECONDS: Final = 0.5
"""Timeout of a cache operation: a slower one costs more than translating again."""

SKIP_SECONDS: Final = 2.0
"""How long the cache is skipped after a failure, so that an outage costs one timeout."""


class RedisCache:
    """Translations in Redis. On any error a lookup is a miss."""

    def __init__(self, redis: Redis, *, keep_seconds: int) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds
        self._skipped_until = 0.0
        self._log = structlog.get_logger("cache")

    async def get(self, key: str) -> str | None:
        """Return the value of a key; None on a miss."""
        if self._skipped:
            metrics.CACHE.labels("unavailable").inc()
            return None
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                value = await self._redis.client.get(self._redis.key(key))
        except (RedisError, OSError, TimeoutError) as error:
            metrics.CACHE.labels("unavailable").inc()
            self._skip(error)
            return None
        metrics.CACHE.labels("miss" if value is None else "hit").inc()
        return value if isinstance(value, str) else None

    async def put(self, key: str, value: str) -> None:
        """Store a value, which may be evicted at any time."""
        if self._skipped:
            return
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                await self._redis.client.set(self._redis.key(key), value, ex=self._keep_seconds)
        except (RedisError, OSError, TimeoutError) as error:
            self._skip(error)

    async def run(self) -> None:
        """Log in once Redis is available, then follow its credentials; until cancelled.

        This is not a start-up check, because translation does not need the cache. A rotation,
        however, waits until the login is reported as in use.
        """
        while True:
            try:
                await self._redis.ping()
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(SKIP_SECONDS)
            else:
                break
        await self._redis.watch()

    @property
    def _skipped(self) -> bool:
        return time.monotonic() < self._skipped_until

    def _skip(self, error: Exception) -> None:
        self._skipped_until = time.monotonic() + SKIP_SECONDS
        self._log.warning("translating without the cache", kind=type(error).__name__)
