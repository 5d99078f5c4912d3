"""Password hashing: argon2id in a bounded thread pool, never on the event loop.

Hashes are the most expensive thing that a stranger may ask for. So known devices come first, and
strangers take turns by network: a host that floods sign-in delays others by one hash.

OWASP Password Storage Cheat Sheet: argon2id, at least 19 MiB, t=2, p=1.
"""

import asyncio
import os
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import argon2

from ashchat_auth.service.ports import Asker
from ashchat_core.admission.networks import networks
from ashchat_core.errors import UnavailableError
from ashchat_core.fairness import FairTurns, Lane, QueueFullError

MEMORY_KIB: Final = 19 * 1024
TIME_COST: Final = 2
PARALLELISM: Final = 1
WORKERS: Final = max(1, min(4, (os.cpu_count() or 1) - 1))
"""Maximum concurrent hashes, about 20 ms of one core each.

One core is left for everything else: with as many threads as cores, no more sign-ins per second
succeed, and health checks take three times as long (`make bench-auth`).
"""

WAITING_MAX: Final = 500
"""Maximum waiting hashes of known devices, and of strangers; further requests get 503, because
they would wait over 5 s."""

NICENESS: Final = 10
"""Niceness of the hashing threads, so that health checks and other requests come first."""

R = TypeVar("R")


class Argon2:
    """Hashes and verifies passwords."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM
        )
        self._pool = ThreadPoolExecutor(
            WORKERS, thread_name_prefix="argon2", initializer=_lower_priority
        )
        # One more than threads, so that no thread waits for the event loop.
        self._turns = FairTurns(WORKERS + 1, waiting_max=WAITING_MAX)
        self._dummy_hash: str | None = None

    async def prepare(self) -> None:
        """Compute the hash that is verified for an unknown address, before it is needed.

        Otherwise the first sign-in to an unknown address would take twice as long.
        """
        if self._dummy_hash is None:
            self._dummy_hash = await self.hash("no account has this password", _ITSELF)

    async def hash(self, password: str, asker: Asker) -> str:
        """Return the hash in PHC format.

        Raises:
            UnavailableError: 503, too many hashes are waiting.
        """
        return await self._run(asker, self._hasher.hash, _normal(password))

    async def verify(self, hashed: str | None, password: str, asker: Asker) -> bool:
        """Return whether the password is right; None (no such account) takes as long.

        Raises:
            UnavailableError: 503, too many hashes are waiting.
        """
        await self.prepare()
        compared = hashed or self._dummy_hash or ""
        right = await self._run(asker, self._verify, compared, _normal(password))
        return right and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Return whether a hash was computed with other parameters than the current ones."""
        try:
            return self._hasher.check_needs_rehash(hashed)
        except argon2.exceptions.InvalidHashError:
            return False

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (argon2.exceptions.VerifyMismatchError, argon2.exceptions.InvalidHashError):
            return False

    async def _run(self, asker: Asker, function: Callable[..., R], *args: str) -> R:
        loop = asyncio.get_running_loop()
        try:
            async with self._turns.turn(_lane(asker)):
                return await loop.run_in_executor(self._pool, function, *args)
        except QueueFullError:
            raise UnavailableError("Too many sign-ins at the moment; try again shortly.") from None


_ITSELF: Final = Asker("", "the service")


def _lane(asker: Asker) -> Lane:
    """Return the account of a known device, or else the client's widest network."""
    if asker.account is not None:
        return Lane(asker.account, "")
    nets = tuple(networks(asker.address))
    return Lane(nets[-1], nets[0], rank=1)


def _normal(password: str) -> str:
    """Return the NFKC form, independent of the keyboard (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)


def _lower_priority() -> None:
    """Let the event loop's thread run first: on Linux each thread has its own niceness.

    A container may already have a greater one, which its processes must not decrease.
    """
    own = threading.get_native_id()
    if os.getpriority(os.PRIO_PROCESS, own) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, own, NICENESS)
