"""Limits in Redis; closed when Redis is gone: who may not be counted may not try."""

import time
from hashlib import sha256

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from ashchat_auth.settings import Settings
from ashchat_core.redis import Redis


class RedisLimits:
    """Counts by sliding window; keys are `auth:limit:…`.

    Tries are counted by account *and* network address, so nobody locks a victim out. Keys
    hold hashes, so that they show neither.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        storage = RedisStorage(
            "async+redis://localhost:6379",  # not used: the pool knows where to go
            implementation="redispy",
            key_prefix="auth:limit",
            connection_pool=redis.client.connection_pool,  # type: ignore[arg-type]
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._sign_ups = RateLimitItemPerHour(settings.sign_ups_per_hour)
        self._sign_ins = RateLimitItemPerMinute(settings.sign_in_tries_per_quarter, 15)
        self._mails = RateLimitItemPerHour(settings.device_codes_per_hour)
        self._codes = RateLimitItemPerMinute(settings.code_tries_per_quarter, 15)

    async def sign_up(self, address: str) -> int:
        """Count a sign-up from an address; return the seconds to wait, 0: go on."""
        return await self._hit(self._sign_ups, "sign-up", address)

    async def sign_in_wait(self, account: str, address: str) -> int:
        """Return the seconds this account may not be tried from this address; 0: it may."""
        names = _names("sign-in", account, address)
        if await self._limiter.test(self._sign_ins, *names):
            return 0
        return await self._wait(self._sign_ins, names)

    async def sign_in_failed(self, account: str, address: str) -> None:
        """Count a wrong password."""
        await self._limiter.hit(self._sign_ins, *_names("sign-in", account, address))

    async def code_mailed(self, account: str) -> int:
        """Count a code that is about to be mailed; return the seconds to wait, 0: go on."""
        return await self._hit(self._mails, "mail", account)

    async def code_tried(self, account: str, address: str) -> int:
        """Count a try of a code; return the seconds to wait, 0: go on."""
        return await self._hit(self._codes, "code", account, address)

    async def _hit(self, item: RateLimitItem, kind: str, *who: str) -> int:
        names = _names(kind, *who)
        if await self._limiter.hit(item, *names):
            return 0
        return await self._wait(item, names)

    async def _wait(self, item: RateLimitItem, names: tuple[str, ...]) -> int:
        stats = await self._limiter.get_window_stats(item, *names)
        return max(1, int(stats.reset_time - time.time()))


def _names(kind: str, *who: str) -> tuple[str, ...]:
    return (kind, *(sha256(name.encode()).hexdigest()[:32] for name in who))
