"""Passwords: argon2id in a bounded pool of threads, never on the event loop.

OWASP Password Storage Cheat Sheet: argon2id, at least 19 MiB, t=2, p=1.
"""

import asyncio
import os
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2

from ashchat_core.errors import Unavailable

MEMORY_KIB = 19 * 1024
TIME_COST = 2
PARALLELISM = 1
WORKERS = max(1, min(4, (os.cpu_count() or 1) - 1))
"""How many hashes are computed at once, about 20 ms of one core each.

One core is left for all the rest: with as many threads as cores, no more people get in a
second, and health answers take three times as long (`make bench-auth`).
"""

WAITING_MAX = 500
"""How many may wait for that; more are told to come back: they would wait over 5 s."""

NICENESS = 10
"""Of the hashing threads: health answers and other requests do not wait for them."""

R = TypeVar("R")


class Argon2:
    """Hashes and verifies."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM
        )
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="argon2", initializer=_give_way)
        self._waiting = 0
        self._nobody: str | None = None

    async def prepare(self) -> None:
        """Compute the hash that stands for an account nobody has, before it is needed.

        Else the first sign-in to an unknown address would take twice as long.
        """
        if self._nobody is None:
            self._nobody = await self.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """Return the hash in PHC format.

        Raises:
            APIError: 503, too many wait for theirs.
        """
        return await self._run(self._hasher.hash, _normal(password))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Tell whether the password is right; None (no such account) takes as long.

        Raises:
            APIError: 503, too many wait for theirs.
        """
        await self.prepare()
        right = await self._run(self._verify, hashed or self._nobody or "", _normal(password))
        return right and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        try:
            return self._hasher.check_needs_rehash(hashed)
        except argon2.exceptions.InvalidHashError:
            return False

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (argon2.exceptions.VerifyMismatchError, argon2.exceptions.InvalidHashError):
            return False

    async def _run(self, function: Callable[..., R], *args: str) -> R:
        if self._waiting >= WAITING_MAX:
            raise Unavailable("too many sign in just now; try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    """Return one form of each character, whatever keyboard it came from (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)


def _give_way() -> None:
    """Let the event loop's thread come first: on Linux a thread has a niceness of its own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
