"""Which tests may run at the same time.

A module that changes what all AshChats of the cluster share, such as the CRD, holds the cluster
exclusively; every other test shares it. The locks are files (flock(2)), so a worker that dies
releases its own.
"""

import asyncio
import fcntl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO


class ClusterLock:
    """A shared or exclusive hold on a cluster."""

    def __init__(self, cluster: str) -> None:
        """Name the locks after a cluster: an identifier that is a valid file name."""
        folder = Path(tempfile.gettempdir())
        self._turnstile = folder / f"ashchat-e2e-{cluster}.turnstile"
        self._cluster = folder / f"ashchat-e2e-{cluster}.cluster"

    @asynccontextmanager
    async def hold(self, *, exclusive: bool) -> AsyncIterator[None]:
        """Wait for the hold and keep it while the context is open."""
        with _opened(self._turnstile) as turnstile, _opened(self._cluster) as held:
            # A waiting exclusive hold keeps the turnstile: otherwise shared holds, of which there
            # are always some, could make it wait forever.
            await asyncio.to_thread(fcntl.flock, turnstile, fcntl.LOCK_EX)
            kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            await asyncio.to_thread(fcntl.flock, held, kind)
            fcntl.flock(turnstile, fcntl.LOCK_UN)
            yield


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    with path.open("w") as file:
        yield file
