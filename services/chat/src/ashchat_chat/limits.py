"""Limits, and the token bucket that keeps them. Pure: the clock is the caller's."""

from dataclasses import dataclass

REF_MAX_CHARS = 128
"""The longest `mobile_ref_id`."""

TOPICS_PER_SOCKET = 200
SOCKETS_PER_USER = 20
"""Open sockets of one person on one pod."""

QUEUE_MAX_FRAMES = 512
QUEUE_MAX_CHARS = 1024 * 1024
"""What may wait for one slow reader before it is closed; it resumes by `since`."""

SILENCE_SECONDS = 60.0
"""Phoenix closes a socket whose heartbeat stays away this long."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second in the long run, and so many at once."""

    per_second: float
    burst: int


MESSAGES = Rate(20.0, 60)
"""Messages of one person."""

FRAMES = Rate(100.0, 300)
"""Frames of one socket, whatever they are; beyond that it is closed."""

ACKS = Rate(20.0, 60)
CHATS = Rate(1.0, 30)
"""New chats of one person: who guesses tags would need them."""


class Bucket:
    """A token bucket."""

    __slots__ = ("_rate", "_tokens", "_updated")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._tokens = float(rate.burst)
        self._updated = now

    def take(self, now: float) -> float:
        """Take one; return 0.0, or the seconds until there will be one again."""
        elapsed = max(0.0, now - self._updated)
        self._updated = now
        self._tokens = min(self._rate.burst, self._tokens + elapsed * self._rate.per_second)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate.per_second

    def full(self, now: float) -> bool:
        """Tell whether nothing was taken for so long that the bucket can be forgotten."""
        return self._tokens + (now - self._updated) * self._rate.per_second >= self._rate.burst
