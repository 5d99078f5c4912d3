"""Token buckets, by the generic cell rate algorithm (ITU-T I.371). No I/O.

A bucket that refills continuously is described by one number: when it will be full again. A
missing number is a full bucket, so an evicted counter admits too much and never too little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

PLATFORM: Final = ""
"""The subject of a bucket that all clients share."""

ROUNDING_SECONDS: Final = 0.001
"""Tolerance of comparisons, because times are stored with six decimals."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How much a bucket holds, and in how many seconds it refills from empty."""

    capacity: float
    refill_seconds: float

    def times(self, factor: float) -> "Rate":
        """Return the rate of a bucket that several clients share."""
        return Rate(self.capacity * factor, self.refill_seconds)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket, and what a request takes from it.

    Attributes:
        limit: The name of the limit, a label of the metric of refusals.
        subject: Who is charged: networks, an account, an address, or `PLATFORM`.
        rate: How much the bucket holds.
        cost: How much the request takes; one that exceeds the capacity empties the bucket.
    """

    limit: str
    subject: Sequence[str]
    rate: Rate
    cost: float = 1.0

    @property
    def key(self) -> str:
        """The bucket's name: a hash of the subject, so that it reveals neither account nor network.

        Parts are separated by a character that no part contains.
        """
        digest = sha256("\0".join(self.subject).encode()).hexdigest()[:32]
        return f"{self.limit}:{digest}"

    @property
    def charge_seconds(self) -> float:
        """By how much the request postpones the time at which the bucket is full."""
        share = min(self.cost, self.rate.capacity) / self.rate.capacity
        return share * self.rate.refill_seconds


@dataclass(frozen=True, slots=True)
class Refusal:
    """The bucket without room for the request, and how long until it has room."""

    bucket: Bucket
    wait_seconds: float


class Limiter(Protocol):
    """Charges buckets; see `gate.Admission`."""

    async def take(self, buckets: Sequence[Bucket]) -> int:
        """Charge all buckets, or none; return in how many seconds there is room, 0: charged."""

    async def has_room(self, buckets: Sequence[Bucket]) -> bool:
        """Charge all buckets, or none of them; a bucket without room refuses no request."""

    async def give_back(self, buckets: Sequence[Bucket]) -> None:
        """Undo a charge: what was counted did not happen."""

    async def refill(self, buckets: Sequence[Bucket]) -> None:
        """Forget what was charged to buckets."""


def charge(
    full_at: Mapping[str, float], buckets: Sequence[Bucket], now: float
) -> dict[str, float] | Refusal:
    """Charge all buckets, or none of them.

    Args:
        full_at: When each bucket will be full again (Unix time), by key; missing: it is full.
        buckets: What the request charges.
        now: The Unix time.

    Returns:
        When each bucket will be full again, or the refusal with the longest wait.
    """
    charged: dict[str, float] = {}
    refusal: Refusal | None = None
    for bucket in buckets:
        then = max(now, full_at.get(bucket.key, now)) + bucket.charge_seconds
        wait = then - now - bucket.rate.refill_seconds
        if wait > max(ROUNDING_SECONDS, refusal.wait_seconds if refusal else 0.0):
            refusal = Refusal(bucket, wait)
        charged[bucket.key] = then
    return refusal or charged
