"""Uploads on a volume: written to a draft, synced to disk, then renamed into place.

`.owners/<owner>/<name>` is a file for each upload of a user, with its purpose, written before the
upload becomes visible, so that no crash leaves one without an owner. It is a file instead of a
link, because backups may not preserve links.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, Final, Self

import structlog

from ashchat_static import ended_sessions, usage
from ashchat_static.folders import OWNERS, lock_owner, older, on_disk, sync
from ashchat_static.ranges import Part
from ashchat_static.service import OwnerDeletedError, Purpose, Quota, kind_of

GONE: Final = ".gone"
"""File in an owner's folder: the account was deleted."""

ENDS_KEPT_SECONDS: Final = 24 * 3600.0
"""How long ended sessions and accounts are remembered: longer than any access token is valid."""

DRAFTS: Final = ".drafts"
DRAFT_MAX_AGE_SECONDS: Final = 3600.0
"""Maximum age of a draft; an older one was left by a killed process."""

ORPHAN_MIN_AGE_SECONDS: Final = 3600.0
"""Minimum age of a file without a marker, or a marker without a file, that is removed."""

SWEEP_SECONDS: Final = 3600.0
"""Interval between two searches for orphans."""

TRANSFORMED_AT_ONCE: Final = 2
"""Maximum files of a process whose metadata is removed at the same time."""

READ_BYTES: Final = 256 * 1024
"""Size of one read."""


class Volume:
    """The folder that stores the uploads."""

    def __init__(self, folder: Path, quota: Quota) -> None:
        self._folder = folder
        self._quota = quota
        self._log = structlog.get_logger("volume")
        self._drafts = folder / DRAFTS
        self._owners = folder / OWNERS
        # Each file is held in memory while its metadata is removed.
        self._transforming = asyncio.Semaphore(TRANSFORMED_AT_ONCE)

    async def prepare(self) -> None:
        """Create the folders; delete old drafts and old markers of deleted accounts.

        Raises:
            OSError: the volume is not writable.
        """
        await asyncio.to_thread(self._prepare)

    def draft(self) -> "FileDraft":
        """Return a new draft, to be used in `async with`."""
        path = self._drafts / secrets.token_hex(16)
        return FileDraft(path, self._folder, self._quota, self._transforming)

    async def admit(self, owner: str) -> None:
        """Count an upload that begins.

        Raises:
            UploadRejectedError: the account's quota is full.
            StorageFullError: the volume is full.
            OwnerDeletedError: the account was deleted.
        """
        await on_disk(self._admit, owner)

    async def remove(self, name: str, owner: str, purpose: Purpose) -> bool:
        """Remove a user's file; return whether there was one.

        A file that was uploaded for several purposes stays if it is removed as a photo.
        """
        return await on_disk(self._remove, name, owner, purpose)

    async def remove_owner(self, owner: str) -> int:
        """Delete a user's files and reject further uploads; return the number of files.

        After a crash, calling it again completes the deletion.

        Raises:
            StorageFullError: there is no space for the marker.
            OSError: the volume failed.
        """
        return await on_disk(self._remove_owner, owner)

    async def sweep(self) -> None:
        """Remove what interrupted uploads and deletions have left, once an hour."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await asyncio.to_thread(self._prepare)
                removed = await asyncio.to_thread(self._remove_orphans)
            except OSError as error:
                self._log.warning("the volume could not be swept", kind=type(error).__name__)
            else:
                if removed:
                    self._log.info("orphans were removed", files=removed)

    async def open(self, name: str) -> "OpenFile | None":
        """Open a stored file by its name; None if it does not exist."""
        return await asyncio.to_thread(OpenFile.at, self._folder / name)

    def _remove_orphans(self) -> int:
        """Remove old markers without a file and old files without a marker; return how many."""
        long_ago = time.time() - ORPHAN_MIN_AGE_SECONDS
        removed, named = 0, set()
        for owned in self._owners.iterdir():
            marked = usage.markers(owned)
            named |= {marker.name for marker in marked}
            lost = [one for one in marked if not (self._folder / one.name).exists()]
            if any(older(marker, long_ago) for marker in lost):
                removed += self._remove_markers(owned.name, long_ago)
        unowned = [
            path
            for path in self._folder.iterdir()
            if kind_of(path.name) and path.name not in named and older(path, long_ago)
        ]
        if len(unowned) > len(named):
            # The markers were lost, for example by an incomplete restore.
            self._log.error("most files have no owner; none of them is removed", files=len(unowned))
            return removed
        for path in unowned:
            path.unlink(missing_ok=True)
        return removed + len(unowned)

    def _remove_markers(self, owner: str, long_ago: float) -> int:
        with lock_owner(self._folder, owner) as owned:
            lost = [
                marker
                for marker in usage.markers(owned)
                if not (self._folder / marker.name).exists() and older(marker, long_ago)
            ]
            for marker in lost:
                marker.unlink(missing_ok=True)
            # It may count a file that was never stored; the files are counted again.
            (owned / usage.USAGE).unlink(missing_ok=True)
        return len(lost)

    def _admit(self, owner: str) -> None:
        with lock_owner(self._folder, owner) as owned:
            if (owned / GONE).exists():
                raise OwnerDeletedError
            used = usage.read(self._folder, owned)
            usage.write(owned, used.with_upload(time.time(), self._quota))

    def _remove(self, name: str, owner: str, purpose: Purpose) -> bool:
        if not (self._owners / owner / name).exists():
            return False
        with lock_owner(self._folder, owner) as owned:
            if _purpose(owned / name) not in {purpose, Purpose.PHOTO}:
                return False
            size = usage.size_of(self._folder / name)
            (self._folder / name).unlink(missing_ok=True)
            sync(self._folder)
            used = usage.read(self._folder, owned)
            (owned / name).unlink(missing_ok=True)
            usage.write(owned, used.without_file(size))
        return True

    def _remove_owner(self, owner: str) -> int:
        with lock_owner(self._folder, owner) as owned:
            names = [marker.name for marker in usage.markers(owned)]
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
            # The files before their markers, so that a repeated call finds the rest.
            sync(self._folder)
            for name in names:
                (owned / name).unlink()
            for left in (usage.USAGE, ended_sessions.ENDED):
                (owned / left).unlink(missing_ok=True)
                (owned / f"{left}.new").unlink(missing_ok=True)
            # Last, because on a full volume there is space for it only now.
            (owned / GONE).touch()
            sync(owned)
        return len(names)

    def _prepare(self) -> None:
        self._drafts.mkdir(parents=True, exist_ok=True)
        self._owners.mkdir(exist_ok=True)
        long_ago = time.time() - ENDS_KEPT_SECONDS
        for marker in (GONE, ended_sessions.ENDED):
            for path in self._owners.glob(f"*/{marker}"):
                if older(path, long_ago):
                    self._forget(path, long_ago)
        too_old = time.time() - DRAFT_MAX_AGE_SECONDS
        for draft in self._drafts.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < too_old:
                    draft.unlink()
        probe = self._drafts / f"probe-{secrets.token_hex(8)}"
        probe.touch()
        probe.unlink()

    def _forget(self, marker: Path, long_ago: float) -> None:
        with lock_owner(self._folder, marker.parent.name) as owned:
            if older(marker, long_ago):
                marker.unlink()
                (owned / f"{marker.name}.new").unlink(missing_ok=True)
            # Fails if something is left in it; a deletion will be repeated.
            with contextlib.suppress(OSError):
                owned.rmdir()


class FileDraft:
    """A file that is being written; deleted at the end of `async with` unless committed."""

    def __init__(
        self, path: Path, folder: Path, quota: Quota, transforming: asyncio.Semaphore
    ) -> None:
        self._path = path
        self._folder = folder
        self._quota = quota
        self._transforming = transforming
        self._file: BinaryIO | None = None

    async def __aenter__(self) -> Self:
        self._file = await on_disk(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not in a thread: this must also happen during a cancellation.
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Append; see `Draft`."""
        await on_disk(self._write, data)

    async def transform(self, change: Callable[[bytes], bytes]) -> None:
        """Replace the content; see `Draft`."""
        async with self._transforming:
            await on_disk(self._transform, change)

    async def commit(self, name: str, owner: str, purpose: Purpose) -> None:
        """Store the file durably; see `Draft`.

        The content and the owner are synced before the name, and the name before the response:
        after a crash the file is complete or absent (https://lwn.net/Articles/457667/).
        """
        await on_disk(self._commit, name, owner, purpose)

    def _open(self) -> BinaryIO:
        return self._path.open("x+b", buffering=0)

    def _transform(self, change: Callable[[bytes], bytes]) -> None:
        assert self._file is not None  # noqa: S101 (inside async with)
        self._file.seek(0)
        changed = change(self._file.read())
        self._file.seek(0)
        self._file.truncate()
        self._write(changed)

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 (inside async with)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _commit(self, name: str, owner: str, purpose: Purpose) -> None:
        assert self._file is not None  # noqa: S101 (inside async with)
        os.fsync(self._file.fileno())
        with lock_owner(self._folder, owner) as owned:
            if (owned / GONE).exists():
                raise OwnerDeletedError
            if not (self._folder / name).exists():
                # First, so that a crash counts a file too many, never one too few.
                used = usage.read(self._folder, owned)
                usage.write(owned, used.with_file(usage.size_of(self._path), self._quota))
            if not (owned / name).exists() or purpose is Purpose.FILE:
                (owned / name).write_text(purpose.value)
            sync(owned)
            self._path.rename(self._folder / name)
            sync(self._folder)


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


def _purpose(marker: Path) -> Purpose:
    try:
        return Purpose(marker.read_text())
    except ValueError:
        return Purpose.FILE
