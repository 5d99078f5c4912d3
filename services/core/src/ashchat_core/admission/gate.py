"""Asks the counters, and counts in the process while they do not answer."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from ashchat_core.admission.counters import Counters, MemoryCounters
from ashchat_core.admission.rules import Bucket, Refusal

REFUSED: Final = Counter(
    "ashchat_admission_refused_total", "Requests that a limit has refused", ["limit"]
)
_LOCAL: Final = Counter(
    "ashchat_admission_local_decisions_total",
    "Requests that were counted in the process, because Redis did not answer",
)

ANSWER_SECONDS: Final = 1.0
"""How long a request waits for the counters."""

AWAY_SECONDS: Final = 2.0
"""How long the counters are not asked after they have failed."""

R = TypeVar("R")


class Admission:
    """Charges buckets.

    Args:
        counters: Where the buckets of all pods are stored; None: nowhere but in the process.
        clock: Returns the Unix time.
    """

    def __init__(
        self, counters: Counters | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._shared = counters
        self._own = MemoryCounters()
        self._clock = clock
        self._asked_again_at = 0.0
        self._log = structlog.get_logger("admission")

    async def take(self, buckets: Sequence[Bucket]) -> int:
        """Charge all buckets, or none of them.

        Returns:
            Seconds until there is room in all of them; 0: they were charged.
        """
        refusal = await self._charge(buckets) if buckets else None
        if refusal is None:
            return 0
        REFUSED.labels(refusal.bucket.limit).inc()
        return math.ceil(refusal.wait_seconds)

    async def has_room(self, buckets: Sequence[Bucket]) -> bool:
        """Charge all buckets, or none of them; a bucket without room refuses no request."""
        return await self._charge(buckets) is None

    async def give_back(self, buckets: Sequence[Bucket]) -> None:
        """Undo a charge: what was counted did not happen."""
        if not buckets:
            return
        now = self._clock()
        await self._ask(lambda counters: counters.give_back(buckets, now))

    async def refill(self, buckets: Sequence[Bucket]) -> None:
        """Forget what was charged to buckets."""
        await self._ask(lambda counters: counters.refill(buckets))

    async def _charge(self, buckets: Sequence[Bucket]) -> Refusal | None:
        now = self._clock()
        return await self._ask(lambda counters: counters.charge(buckets, now))

    async def _ask(self, question: Callable[[Counters], Awaitable[R]]) -> R:
        """Return the answer of the shared counters or, if they fail, of the process's own."""
        if self._shared is not None and time.monotonic() >= self._asked_again_at:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await question(self._shared)
            except (RedisError, OSError) as error:
                self._asked_again_at = time.monotonic() + AWAY_SECONDS
                self._log.warning("counting in the process", kind=type(error).__name__)
        if self._shared is not None:
            _LOCAL.inc()
        return await question(self._own)
