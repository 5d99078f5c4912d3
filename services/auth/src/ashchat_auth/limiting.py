"""Limits in Redis; closed when Redis is gone: who may not be counted may not try."""

import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from ashchat_core.redis import Redis


class Limiter:
    """Counts by sliding window; keys are `auth:limit:…`."""

    def __init__(self, redis: Redis, *, sign_ups_per_hour: int, tries_per_quarter: int) -> None:
        storage = RedisStorage(
            "async+redis://localhost",
            implementation="redispy",
            key_prefix="auth:limit",
            connection_pool=redis.client.connection_pool,  # type: ignore[arg-type]
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._sign_ups = RateLimitItemPerHour(sign_ups_per_hour)
        self._tries = RateLimitItemPerMinute(tries_per_quarter, 15)

    async def sign_up(self, address: str) -> int:
        """Count a sign-up from an address; return seconds to wait, 0 if it may go on."""
        return await self._hit(self._sign_ups, "sign-up", address)

    async def sign_in_wait(self, account: str, address: str) -> int:
        """Return the seconds this account may not be tried from this address; 0: it may."""
        if await self._limiter.test(self._tries, "sign-in", account, address):
            return 0
        return await self._wait(self._tries, "sign-in", account, address)

    async def sign_in_failed(self, account: str, address: str) -> None:
        """Count a wrong password. By account *and* address, so nobody locks a victim out."""
        await self._limiter.hit(self._tries, "sign-in", account, address)

    async def _hit(self, item: RateLimitItem, *names: str) -> int:
        if await self._limiter.hit(item, *names):
            return 0
        return await self._wait(item, *names)

    async def _wait(self, item: RateLimitItem, *names: str) -> int:
        stats = await self._limiter.get_window_stats(item, *names)
        return max(1, int(stats.reset_time - time.time()))
