"""Uploads on a volume: written to a draft, synced to disk, then renamed into place.

`.owners/<owner>/<name>` is an empty file for each upload of a user, written before the upload
becomes visible, so that no crash leaves one without an owner. It is a file instead of a link,
because backups may not preserve links.
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
"""File in an owner's folder: the account was deleted."""

GONE_KEPT_SECONDS: Final = 24 * 3600.0
"""How long the marker stays: longer than any access token is valid."""

DRAFTS: Final = ".drafts"
DRAFT_MAX_AGE_SECONDS: Final = 3600.0
"""Maximum age of a draft; an older one was left by a killed process."""

READ_BYTES: Final = 256 * 1024
"""Size of one read."""

P = ParamSpec("P")
R = TypeVar("R")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Volume:
    """The folder that stores the uploads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts = folder / DRAFTS
        self._owners = folder / OWNERS

    async def prepare(self) -> None:
        """Create the folders; delete old drafts and old markers of deleted accounts.

        Raises:
            OSError: the volume is not writable.
        """
        await asyncio.to_thread(self._prepare)

    def draft(self) -> "FileDraft":
        """Return a new draft, to be used in `async with`."""
        return FileDraft(self._drafts / secrets.token_hex(16), self._folder)

    async def remove_owner(self, owner: str) -> int:
        """Delete a user's files and reject further uploads; return the number of files.

        After a crash, calling it again completes the deletion.

        Raises:
            StorageFullError: there is no space for the marker.
            OSError: the volume failed.
        """
        return await _on_disk(self._remove_owner, owner)

    async def open(self, name: str) -> "OpenFile | None":
        """Open a stored file by its name; None if it does not exist."""
        return await asyncio.to_thread(OpenFile.at, self._folder / name)

    def _remove_owner(self, owner: str) -> int:
        with _owned(self._folder, owner) as owned:
            names = [marker.name for marker in owned.iterdir() if kind_of(marker.name)]
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
            # The files before their markers, so that a repeated call finds the rest.
            _sync(self._folder)
            for name in names:
                (owned / name).unlink()
            # Last, because on a full volume there is space for it only now.
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
                # Fails if something is left in it; the deletion will be repeated.
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
    """A file that is being written; deleted at the end of `async with` unless committed."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._file: BinaryIO | None = None

    async def __aenter__(self) -> Self:
        self._file = await _on_disk(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not in a thread: this must also happen during a cancellation.
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Append; see `Draft`."""
        await _on_disk(self._write, data)

    async def commit(self, name: str, owner: str) -> None:
        """Store the file durably; see `Draft`.

        The content and the owner are synced before the name, and the name before the response:
        after a crash the file is complete or absent (https://lwn.net/Articles/457667/).
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
    """A stored file that is open for reading; it stays readable if it is deleted."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    @classmethod
    def at(cls, path: Path) -> "OpenFile | None":
        """Open a file; None if it does not exist."""
        try:
            return cls(path.open("rb", buffering=0))
        except (FileNotFoundError, IsADirectoryError):
            return None

    def close(self) -> None:
        """Close the file if `chunks` does not read it to the end."""
        self._file.close()

    async def chunks(self, part: Part) -> AsyncIterator[bytes]:
        """Yield a part of the file, then close it."""
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
    """Lock an owner's folder against other processes."""
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
    """Sync a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def _on_disk(call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
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
