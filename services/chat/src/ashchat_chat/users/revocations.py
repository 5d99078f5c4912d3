"""Sessions that are over: known on every pod, so that their sockets close within seconds.

The pod that hears of a revocation writes it into a log that all pods follow (a Redis
stream), and acknowledges the message only then. Unlike publish/subscribe a log loses
nothing: a pod that was away reads on from where it was. What a pod has read it keeps in
memory as long as an access token of the session may live, so that to ask costs nothing, for
a socket and for every HTTP request, and goes on while Redis is away.

No I/O library is imported here; the log is `RevocationLog`.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import structlog

from ashchat_chat import metrics
from ashchat_chat.clock import monotonic

BEGINNING = "0"
AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Over:
    """What is over: a session, a user's sessions below an epoch, or all of a deleted user."""

    kind: str
    """`session`, `user` or `epoch`."""
    name: str
    """The session's id; of a user a digest, so that the log does not keep who it was."""
    below: int = 0
    """Of an `epoch`: the user's sessions of older epochs have ended."""
    but: str = ""
    """Of an `epoch`: the session that has started it, and continues."""


def session_over(session_id: str) -> Over:
    """Return that a session is over."""
    return Over("session", session_id)


@lru_cache(maxsize=20_000)  # asked for every request
def user_over(user_id: str) -> Over:
    """Return the end of all sessions of a user."""
    return Over("user", hashlib.sha256(user_id.encode()).hexdigest())


def epochs_over(user_id: str, below: int, but: str | None) -> Over:
    """Return the end of a user's sessions below an epoch, except one."""
    return Over("epoch", user_over(user_id).name, below, but or "")


class RevocationLog(Protocol):
    """What all pods write and read. Methods may raise what `away` lists."""

    async def add(self, over: Sequence[Over]) -> None:
        """Write; return when it is written."""
        ...

    async def after(self, cursor: str, *, wait: bool) -> tuple[str, list[Over]]:
        """Return what was written after a cursor, and the cursor behind it; at most a page.

        With `wait`, and nothing there yet: a moment later.
        """
        ...


class Revocations:
    """What this pod knows to be over."""

    def __init__(
        self,
        log: RevocationLog,
        *,
        keep_seconds: float,
        away: tuple[type[Exception], ...],
    ) -> None:
        self._shared = log
        self._keep = keep_seconds
        self._away = away
        self._tell: Callable[[Sequence[Over]], None] = lambda _: None
        self._cursor = BEGINNING
        self._over: dict[Over, float] = {}
        """When each may be forgotten, soonest first."""
        self._epochs: dict[str, Over] = {}
        """The newest end of a user's epochs. It implies older ones: the session that started it
        is of an epoch that none of them has ended."""
        self._log = structlog.get_logger("revocations")

    def call_on_new(self, tell: Callable[[Sequence[Over]], None]) -> None:
        """Call a function with what has ended, whenever something has."""
        self._tell = tell

    def revoked(self, *, user: str, session: str, epoch: int) -> bool:
        """Return whether a session has ended."""
        if not self._over:
            return False
        everything = user_over(user)
        ended = self._epochs.get(everything.name)
        return (
            session_over(session) in self._over
            or everything in self._over
            or (ended is not None and epoch < ended.below and session != ended.but)
        )

    async def revoke(self, over: Sequence[Over]) -> None:
        """Close the sockets here, and tell all pods; to repeat it changes nothing.

        Raises:
            what `away` lists: other pods were not notified; repeating it is safe.
        """
        self._take(over)
        await self._shared.add(over)

    async def load(self) -> None:
        """Read what there is: once, before the first socket is let in.

        Raises:
            what `away` lists.
        """
        while await self._read(wait=False):
            continue

    async def follow(self) -> None:
        """Take what other pods write; until cancelled."""
        while True:
            try:
                await self._read(wait=True)
            except self._away as error:
                self._log.info("reading the revocations failed", kind=type(error).__name__)
                # Redis may have lost what it wrote last, and what comes then be numbered lower.
                self._cursor = BEGINNING
                await asyncio.sleep(AGAIN_SECONDS)

    async def _read(self, *, wait: bool) -> bool:
        self._cursor, found = await self._shared.after(self._cursor, wait=wait)
        self._take(found)
        self._forget()
        return bool(found)

    def _take(self, over: Iterable[Over]) -> None:
        until = monotonic() + self._keep
        new = [one for one in over if one not in self._over]
        for one in new:
            self._over[one] = until
            if one.kind == "epoch":
                newest = self._epochs.get(one.name, one)
                self._epochs[one.name] = max(newest, one, key=lambda ended: ended.below)
        metrics.REVOKED.set(len(self._over))
        if new:
            self._tell(new)

    def _forget(self) -> None:
        now = monotonic()
        while self._over and (first := next(iter(self._over))):
            if self._over[first] > now:
                break
            del self._over[first]
            if self._epochs.get(first.name) == first:
                del self._epochs[first.name]
        metrics.REVOKED.set(len(self._over))
