"""Folders of the volume: locks, durability, errors."""

import asyncio
import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from ashchat_static.service import StorageFullError

OWNERS: Final = ".owners"

P = ParamSpec("P")
R = TypeVar("R")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def older(path: Path, than: float) -> bool:
    """Return whether a file exists that was last changed before a time."""
    try:
        return path.stat().st_mtime < than
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def lock_owner(folder: Path, owner: str) -> Iterator[Path]:
    """Lock an owner's folder against other processes."""
    owned = folder / OWNERS / owner
    while True:
        if not owned.is_dir():
            owned.mkdir(parents=True, exist_ok=True)
            sync(owned.parent)
        try:
            handle = os.open(owned, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is(handle, owned):
                yield owned
                return
            # Another process has removed the folder meanwhile.
        finally:
            os.close(handle)


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def sync(folder: Path) -> None:
    """Sync a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def on_disk(call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Call a function in a thread.

    Raises:
        StorageFullError: the volume is full.
    """
    try:
        return await asyncio.to_thread(call, *arguments, **options)
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError from error
        raise
