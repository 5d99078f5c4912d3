"""Passwords: argon2id in a bounded pool of threads, never on the event loop.

OWASP Password Storage Cheat Sheet: argon2id, at least 19 MiB, t=2, p=1.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import argon2

MEMORY_KIB = 19 * 1024
TIME_COST = 2
PARALLELISM = 1
WORKERS = 2
"""How many hashes are computed at once: about 20 ms of one core each."""

NICENESS = 10
"""Of the hashing threads: health answers and other requests do not wait for them."""

MIN_CHARS, MAX_CHARS = 8, 128


R = TypeVar("R")


class Argon2:
    """Hashes and verifies."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM
        )
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="argon2", initializer=_give_way)

    async def hash(self, password: str) -> str:
        """Return the hash in PHC format."""
        return await self._run(self._hasher.hash, password)

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Tell whether the password is right; None (no such account) takes as long."""
        right = await self._run(self._verify, hashed or self._nobody, password)
        return right and hashed is not None

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash("nobody has this password")

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (argon2.exceptions.VerifyMismatchError, argon2.exceptions.InvalidHashError):
            return False

    async def _run(self, function: Callable[..., R], *args: str) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)


def _give_way() -> None:
    """Let the event loop's thread come first: on Linux a thread has a niceness of its own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
