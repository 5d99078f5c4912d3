"""Rules of uploads: size, type, name and quota. No I/O: the store implements `Draft`."""

import hashlib
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Protocol

from ashchat_static import metadata
from ashchat_static.kinds import BY_EXTENSION, HEAD_BYTES, IMAGES, KINDS, Kind, sniff

DEFAULT_AVATAR: Final = "default-avatar.png"
"""The default profile photo, which is part of the image."""

NAME: Final = r"[0-9a-f]{64}\.[a-z0-9]{1,5}"
"""Pattern of the names of uploads."""


class Purpose(StrEnum):
    """What a file is uploaded for."""

    FILE = "file"
    PHOTO = "photo"
    """A profile photo: an image, which is removed when another one replaces it."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one account may store."""

    stored_bytes: int
    uploads_per_day: int


class UploadRejectedError(Exception):
    """The upload is not accepted."""

    def __init__(
        self,
        status: int,
        reason: str,
        sentence: str,
        *,
        details: Mapping[str, Any] | None = None,
        retry_after_seconds: int | None = None,
        limit: str | None = None,
    ) -> None:
        super().__init__(sentence)
        self.limit = limit
        self.status = status
        self.reason = reason
        self.details = details
        self.retry_after_seconds = retry_after_seconds


def too_large(max_bytes: int) -> UploadRejectedError:
    """Return the error for a file with more bytes."""
    return UploadRejectedError(
        413,
        "too_large",
        f"A file may have at most {max_bytes} bytes.",
        details={"max_bytes": max_bytes},
    )


QUOTA_RETRY_SECONDS: Final = 3600
"""Retry-After of a full quota, which ends only when the user deletes files."""


def quota_exceeded(quota: Quota, stored_bytes: int) -> UploadRejectedError:
    """Return the error for an account that stores too much."""
    return UploadRejectedError(
        507,
        "quota_exceeded",
        f"An account may store {quota.stored_bytes} bytes. Delete files to upload others.",
        details={"max_bytes": quota.stored_bytes, "stored_bytes": stored_bytes},
        retry_after_seconds=QUOTA_RETRY_SECONDS,
        limit="storage.account",
    )


def too_many_uploads(quota: Quota, retry_after_seconds: float) -> UploadRejectedError:
    """Return the error for an account that has uploaded too often."""
    return UploadRejectedError(
        429,
        "too_many_uploads",
        f"An account may upload {quota.uploads_per_day} files a day.",
        details={"max_uploads": quota.uploads_per_day},
        retry_after_seconds=math.ceil(retry_after_seconds),
        limit="upload.account",
    )


def unsupported_type(purpose: Purpose) -> UploadRejectedError:
    """Return the error for a file of another type, which names the accepted ones."""
    kinds = _ACCEPTED[purpose]
    names = ", ".join(sorted(kind.extension.upper() for kind in kinds))
    return UploadRejectedError(
        415,
        "unsupported_type",
        f"Accepted types: {names}.",
        details={"accepted": sorted(kind.media_type for kind in kinds)},
    )


_ACCEPTED: Final[Mapping[Purpose, tuple[Kind, ...]]] = MappingProxyType(
    {Purpose.FILE: KINDS, Purpose.PHOTO: IMAGES}
)


class StorageFullError(Exception):
    """The volume is full."""


class OwnerDeletedError(Exception):
    """The uploading user has deleted the account."""


class Draft(Protocol):
    """A file that is being written; invisible before `commit`."""

    async def write(self, data: bytes) -> None:
        """Append.

        Raises:
            StorageFullError: the volume is full.
        """
        ...

    async def transform(self, change: Callable[[bytes], bytes]) -> None:
        """Replace the whole content by what a function returns, which is called in a thread.

        Raises:
            StorageFullError: the volume is full.
        """
        ...

    async def commit(self, name: str, owner: str, purpose: Purpose) -> None:
        """Store the file durably under a name, which depends on its content and owner.

        Raises:
            StorageFullError: the volume is full.
            OwnerDeletedError: the account was deleted.
            UploadRejectedError: the account's quota is full.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored file."""

    name: str
    size: int
    media_type: str

    @property
    def url(self) -> str:
        """The file's path from the platform's root."""
        return f"/files/{self.name}"


def kind_of(name: str) -> Kind | None:
    """Return the type of a stored file by its name; None if the name is not valid.

    Only names of this form are accepted, so a name cannot contain a path.
    """
    if re.fullmatch(NAME, name, re.ASCII) is None:
        return None
    return BY_EXTENSION.get(name.partition(".")[2])


def owner_of(user_id: str) -> str:
    """Return the name of a user's folder: a hash, so that it does not identify the user."""
    return hashlib.sha256(user_id.encode()).hexdigest()


async def accept(
    data: AsyncIterator[bytes], draft: Draft, *, owner: str, purpose: Purpose, max_bytes: int
) -> Stored:
    """Write an upload as it arrives, remove its metadata, and name it after owner and content.

    Including the owner gives each file one owner, with whom it is deleted, even if another user
    has the same file. It also prevents learning from a name that a user has a certain file.

    Raises:
        UploadRejectedError: too large (413), not of an accepted type or malformed (415), empty
            (400), or the account's quota is full (507).
        StorageFullError: the volume is full.
        OwnerDeletedError: the account was deleted.
    """
    size, head = 0, b""
    kind: Kind | None = None
    async for chunk in data:
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        if kind is None:
            head += chunk[:HEAD_BYTES]
            if len(head) >= HEAD_BYTES:
                kind = _kind(head, purpose)
        await draft.write(chunk)
    if size == 0:
        raise UploadRejectedError(400, "empty", "The request has no file.")
    found = kind or _kind(head, purpose)
    digest = hashlib.sha256(owner.encode())

    def clean(content: bytes) -> bytes:
        nonlocal size
        cleaned = metadata.remove(found, content)
        digest.update(cleaned)
        size = len(cleaned)
        return cleaned

    try:
        await draft.transform(clean)
    except metadata.MalformedFileError:
        raise UploadRejectedError(
            415, "malformed_file", f"This is not a valid {found.extension.upper()} file."
        ) from None
    name = f"{digest.hexdigest()}.{found.extension}"
    await draft.commit(name, owner, purpose)
    return Stored(name, size, found.media_type)


def _kind(head: bytes, purpose: Purpose) -> Kind:
    kind = sniff(head[:HEAD_BYTES])
    if kind is None or kind not in _ACCEPTED[purpose]:
        raise unsupported_type(purpose)
    return kind
