"""Uploads on a volume: written beside their place, made to last, then moved into it.

Beside the files lies who put them there: `.owners/<owner>/<name>`, an empty file for each
upload, written before the upload can be seen, so that no crash leaves one without an owner.
An empty file and not a link: backups keep it whatever they do with links. Files from before
there were owners have none, and stay.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, ParamSpec, Self, TypeVar

from ashchat_static.ranges import Part
from ashchat_static.service import OwnerDeletedError, StorageFullError, kind_of

OWNERS: Final = ".owners"
GONE: Final = ".gone"
"""In an owner's folder: their account was deleted."""

GONE_KEPT_SECONDS: Final = 24 * 3600.0
"""Longer than any access token lives: until then somebody deleted might still upload."""

DRAFTS: Final = ".drafts"
DRAFT_MAX_AGE_SECONDS: Final = 3600.0
"""What is older was left behind by a process that was killed."""

READ_BYTES: Final = 256 * 1024

P = ParamSpec("P")
R = TypeVar("R")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Volume:
    """The folder that keeps the uploads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts = folder / DRAFTS
        self._owners = folder / OWNERS

    async def prepare(self) -> None:
        """Make the folders, and remove drafts left behind and owners long gone.

        Raises:
            OSError: the volume cannot be written.
        """
        await asyncio.to_thread(self._prepare)

    def draft(self) -> "FileDraft":
        """Return a new draft, to be used in `async with`."""
        return FileDraft(self._drafts / secrets.token_hex(16), self._folder)

    async def remove_owner(self, owner: str) -> int:
        """Remove all that somebody put here, and take nothing more; return how many files.

        Whatever a crash leaves undone is done by calling again.

        Raises:
            StorageFullError: no room to keep that they are gone.
            OSError: the volume does not do it.
        """
        return await _on_disk(self._remove_owner, owner)

    async def open(self, name: str) -> "OpenFile | None":
        """Open a stored file by a name of ours; None: there is none."""
        return await asyncio.to_thread(OpenFile.at, self._folder / name)

    def _remove_owner(self, owner: str) -> int:
        with _owned(self._folder, owner) as owned:
            names = [marker.name for marker in owned.iterdir() if kind_of(marker.name)]
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
            # The files before their marks: what is left over is found again.
            _sync(self._folder)
            for name in names:
                (owned / name).unlink()
            # Last, since on a full volume there is room for it only now.
            (owned / GONE).touch()
            _sync(owned)
        return len(names)

    def _prepare(self) -> None:
        self._drafts.mkdir(parents=True, exist_ok=True)
        self._owners.mkdir(exist_ok=True)
        long_ago = time.time() - GONE_KEPT_SECONDS
        for gone in self._owners.glob(f"*/{GONE}"):
            if gone.stat().st_mtime < long_ago:
                gone.unlink()
                # Not when something is left in it: the deletion comes again.
                with contextlib.suppress(OSError):
                    gone.parent.rmdir()
        too_old = time.time() - DRAFT_MAX_AGE_SECONDS
        for draft in self._drafts.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < too_old:
                    draft.unlink()
        probe = self._drafts / f"probe-{secrets.token_hex(8)}"
        probe.touch()
        probe.unlink()


class FileDraft:
    """A file that is being written; gone at the end of `async with` unless committed."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._file: BinaryIO | None = None

    async def __aenter__(self) -> Self:
        self._file = await _on_disk(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not awaited in a thread: it must happen even while we are being cancelled.
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Append; see `Draft`."""
        await _on_disk(self._write, data)

    async def commit(self, name: str, owner: str) -> None:
        """Make it last; see `Draft`.

        The content and the owner before the name, the name before the answer: after a
        crash there is the whole file or none (https://lwn.net/Articles/457667/).
        """
        await _on_disk(self._commit, name, owner)

    def _open(self) -> BinaryIO:
        return self._path.open("xb", buffering=0)

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 (inside async with)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _commit(self, name: str, owner: str) -> None:
        assert self._file is not None  # noqa: S101 (inside async with)
        os.fsync(self._file.fileno())
        with _owned(self._folder, owner) as owned:
            if (owned / GONE).exists():
                raise OwnerDeletedError
            (owned / name).touch()
            _sync(owned)
            self._path.rename(self._folder / name)
            _sync(self._folder)


class OpenFile:
    """A stored file that is open for reading: it stays whole even if it is removed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    @classmethod
    def at(cls, path: Path) -> "OpenFile | None":
        """Open a file; None: there is none."""
        try:
            return cls(path.open("rb", buffering=0))
        except (FileNotFoundError, IsADirectoryError):
            return None

    def close(self) -> None:
        """Close it, when it is not read to its end by `chunks`."""
        self._file.close()

    async def chunks(self, part: Part) -> AsyncIterator[bytes]:
        """Yield a part of it, then close it."""
        try:
            self._file.seek(part.start)
            left = part.length
            while left > 0:
                chunk = await asyncio.to_thread(self._file.read, min(READ_BYTES, left))
                if not chunk:
                    return
                left -= len(chunk)
                yield chunk
        finally:
            self._file.close()


@contextlib.contextmanager
def _owned(folder: Path, owner: str) -> Iterator[Path]:
    """Hold an owner's folder, which no other process holds meanwhile."""
    owned = folder / OWNERS / owner
    if not owned.is_dir():
        owned.mkdir(parents=True, exist_ok=True)
        _sync(owned.parent)
    handle = os.open(owned, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield owned
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    """Make what is in a folder last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def _on_disk(call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Call in a thread.

    Raises:
        StorageFullError: the volume has no room.
    """
    try:
        return await asyncio.to_thread(call, *arguments, **options)
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError from error
        raise
