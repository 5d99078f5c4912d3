"""Where buckets are stored: in Redis, or in the process. Both follow `rules.charge`."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, Protocol

from ashchat_core.admission.rules import ROUNDING_SECONDS, Bucket, Refusal, charge
from ashchat_core.redis import Redis

MEMORY_MAX: Final = 50_000
"""Maximum buckets in a process, about 10 MiB; the least recently charged are evicted."""

# KEYS: the buckets. ARGV: the Unix time, then for each bucket its charge and its refill time in
# seconds. The ACL does not allow TIME. Returns the refusing bucket's number and its wait; 0: none.
_CHARGE: Final = f"""
local now = tonumber(ARGV[1])
local refusing, longest, charged = 0, {ROUNDING_SECONDS}, {{}}
for index, key in ipairs(KEYS) do
  local full_at = math.max(now, tonumber(redis.call('GET', key) or '0')) + tonumber(ARGV[2 * index])
  local wait = full_at - now - tonumber(ARGV[2 * index + 1])
  if wait > longest then refusing, longest = index, wait end
  charged[index] = full_at
end
if refusing > 0 then return {{refusing, string.format('%.6f', longest)}} end
for index, key in ipairs(KEYS) do
  local milliseconds = math.max(1, math.ceil((charged[index] - now) * 1000))
  redis.call('SET', key, string.format('%.6f', charged[index]), 'PX', milliseconds)
end
return {{0, '0'}}
"""

# KEYS: the buckets. ARGV: the Unix time, then the charge of each bucket in seconds.
_RETURN: Final = """
local now = tonumber(ARGV[1])
for index, key in ipairs(KEYS) do
  local full_at = tonumber(redis.call('GET', key) or '0') - tonumber(ARGV[index + 1])
  if full_at <= now then
    redis.call('DEL', key)
  else
    local milliseconds = math.max(1, math.ceil((full_at - now) * 1000))
    redis.call('SET', key, string.format('%.6f', full_at), 'PX', milliseconds)
  end
end
return 0
"""


class Counters(Protocol):
    """Stores buckets. All methods may raise what the storage raises."""

    async def charge(self, buckets: Sequence[Bucket], now: float) -> Refusal | None:
        """Charge all buckets, or none of them and return why."""

    async def give_back(self, buckets: Sequence[Bucket], now: float) -> None:
        """Undo a charge."""

    async def refill(self, buckets: Sequence[Bucket]) -> None:
        """Make buckets full."""


class MemoryCounters:
    """Buckets in the process, as many as fit."""

    def __init__(self, *, size: int = MEMORY_MAX) -> None:
        self._size = size
        self._full_at: OrderedDict[str, float] = OrderedDict()

    async def charge(self, buckets: Sequence[Bucket], now: float) -> Refusal | None:
        """Charge all buckets, or none of them and return why."""
        charged = charge(self._full_at, buckets, now)
        if isinstance(charged, Refusal):
            return charged
        for key, full_at in charged.items():
            self._put(key, full_at)
        while len(self._full_at) > self._size:
            self._full_at.popitem(last=False)
        return None

    async def give_back(self, buckets: Sequence[Bucket], now: float) -> None:
        """Undo a charge."""
        for bucket in buckets:
            full_at = self._full_at.pop(bucket.key, now) - bucket.charge_seconds
            if full_at > now:
                self._put(bucket.key, full_at)

    async def refill(self, buckets: Sequence[Bucket]) -> None:
        """Make buckets full."""
        for bucket in buckets:
            self._full_at.pop(bucket.key, None)

    def _put(self, key: str, full_at: float) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)


class RedisCounters:
    """Buckets in Redis, one round trip per call. A full bucket has no key.

    Args:
        redis: The connection.
        prefix: The beginning of the keys, which the service's grant must include.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def charge(self, buckets: Sequence[Bucket], now: float) -> Refusal | None:
        """Charge all buckets, or none of them and return why."""
        arguments: list[float] = [now]
        for bucket in buckets:
            arguments += [bucket.charge_seconds, bucket.rate.refill_seconds]
        number, wait = await self._eval(_CHARGE, buckets, arguments)
        return Refusal(buckets[int(number) - 1], float(wait)) if int(number) else None

    async def give_back(self, buckets: Sequence[Bucket], now: float) -> None:
        """Undo a charge."""
        await self._eval(_RETURN, buckets, [now, *(bucket.charge_seconds for bucket in buckets)])

    async def refill(self, buckets: Sequence[Bucket]) -> None:
        """Make buckets full."""
        await self._redis.client.delete(*map(self._key, buckets))

    async def _eval(self, script: str, buckets: Sequence[Bucket], arguments: list[float]) -> Any:
        client: Any = self._redis.client
        keys = map(self._key, buckets)
        return await client.eval(script, len(buckets), *keys, *map(repr, arguments))

    def _key(self, bucket: Bucket) -> str:
        return self._redis.key(f"{self._prefix}:{bucket.key}")
