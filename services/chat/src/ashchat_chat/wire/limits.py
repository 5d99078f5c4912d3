"""Limits, and the token bucket that enforces them. Pure: the caller provides the time."""

from dataclasses import dataclass
from typing import Final

from ashchat_core.admission import rules
from ashchat_core.messages import TEXT_MAX_CHARS

REF_MAX_CHARS = 128
"""Maximum length of a `mobile_ref_id`."""

ESCAPED_MAX_BYTES: Final = 12
"""Bytes of one character in JSON at most: a pair of `\\uXXXX`."""

FRAME_MAX_BYTES: Final = ESCAPED_MAX_BYTES * TEXT_MAX_CHARS + 32 * 1024
"""Maximum size of a client's frame: a text of the maximum length, however JSON escapes it, and
everything else in the frame. A larger frame closes the socket with 1009 (RFC 6455)."""

REV_MAX = 2**53
"""Highest revision that is looked up."""

TOPICS_PER_SOCKET = 200
SOCKETS_PER_USER = 20
"""Maximum open sockets of one user, on all pods."""

BUDGET_BYTES: Final = 256 * 1024
"""Bytes that wait for one reader; events beyond that are read from the log again later."""

UNRESUMABLE_BYTES: Final = 4 * BUDGET_BYTES
"""The same for what cannot be read again (protocol 1); beyond that the socket is closed."""

JOINS_AT_ONCE: Final = 64
"""Joins of chats that a pod handles at once. The memory that thousands need together, when all
clients come back, would stay with the process."""

FRAMES_WAITING: Final = 32
"""Frames of one client that wait for an earlier one; then nothing more is read from it."""

SILENCE_SECONDS = 60.0
"""How long a heartbeat may be missing before Phoenix closes the socket."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A sustained rate per second, and a maximum burst."""

    per_second: float
    burst: int


MESSAGES = Rate(20.0, 60)
"""Messages of one user."""

FRAMES = Rate(100.0, 300)
"""Frames of one socket of any kind; beyond that it is closed."""

ACKS = Rate(20.0, 60)


@dataclass(frozen=True, slots=True)
class AccountRate:
    """A sustained rate per second of one account on all pods, and a maximum burst."""

    limit: str
    """A label of the metric of refusals."""
    per_second: float
    burst: int

    def bucket(self, user: str, count: int) -> rules.Bucket:
        """Return the account's bucket, and what a request takes from it."""
        rate = rules.Rate(self.burst, self.burst / self.per_second)
        return rules.Bucket(self.limit, (user,), rate, count)


CHATS = AccountRate("chats.account", 1.0, 30)
"""New chats, which limits guessing tags."""

TAGS = AccountRate("tags.account", 1.0, 300)
"""Tags of new members of groups, which limits guessing tags."""

GROUPS = AccountRate("groups.account", 2.0, 60)
"""Changes of groups."""

LISTS = AccountRate("lists.account", 10.0, 120)
"""Lists of rooms or chats."""


class Bucket:
    """A token bucket."""

    __slots__ = ("_rate", "_tokens", "_updated")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._tokens = float(rate.burst)
        self._updated = now

    def take(self, now: float) -> float:
        """Take a token; return 0.0, or the seconds until there is one."""
        elapsed = max(0.0, now - self._updated)
        self._updated = now
        self._tokens = min(self._rate.burst, self._tokens + elapsed * self._rate.per_second)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate.per_second

    def full(self, now: float) -> bool:
        """Return whether the bucket is full again, so that it can be deleted."""
        return self._tokens + (now - self._updated) * self._rate.per_second >= self._rate.burst
