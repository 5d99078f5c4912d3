"""The lock of the machine's node."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ashchat_node.progress import Progress

_LOCK: Final = Path("/run/ashchat-node.lock")


@contextmanager
def locked(progress: Progress) -> Iterator[None]:
    """Allow one `up` or `down` at a time on the machine; the second waits."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step("wait for another run on this machine"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
