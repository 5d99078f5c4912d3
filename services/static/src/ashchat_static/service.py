"""Rules of uploads: size, type and name. No I/O: the store implements `Draft`."""

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from ashchat_static.kinds import BY_EXTENSION, HEAD_BYTES, Kind, sniff

DEFAULT_AVATAR: Final = "default-avatar.png"
"""The default profile photo, which is part of the image."""

NAME: Final = r"[0-9a-f]{64}\.[a-z0-9]{1,5}"
"""Pattern of the names of uploads."""


class UploadRejectedError(Exception):
    """The upload is not accepted."""

    def __init__(self, status: int, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason


def too_large(max_bytes: int) -> UploadRejectedError:
    """Return the error for a file with more bytes."""
    return UploadRejectedError(413, "too_large", f"A file may have at most {max_bytes} bytes.")


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

    async def commit(self, name: str, owner: str) -> None:
        """Store the file durably under a name, which depends on its content and owner.

        Raises:
            StorageFullError: the volume is full.
            OwnerDeletedError: the account was deleted.
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


async def accept(data: AsyncIterator[bytes], draft: Draft, *, owner: str, max_bytes: int) -> Stored:
    """Write an upload as it arrives, and name it after its owner and content.

    Including the owner gives each file one owner, with whom it is deleted, even if another user
    has the same file. It also prevents learning from a name that a user has a certain file.

    Raises:
        UploadRejectedError: too large (413), not of an accepted type (415), or empty (400).
        StorageFullError: the volume is full.
        OwnerDeletedError: the account was deleted.
    """
    digest, size, head = hashlib.sha256(owner.encode()), 0, b""
    kind: Kind | None = None
    async for chunk in data:
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        if kind is None:
            head += chunk[:HEAD_BYTES]
            if len(head) >= HEAD_BYTES:
                kind = _kind(head)
        digest.update(chunk)
        await draft.write(chunk)
    if size == 0:
        raise UploadRejectedError(400, "empty", "The request has no file.")
    kind = kind or _kind(head)
    name = f"{digest.hexdigest()}.{kind.extension}"
    await draft.commit(name, owner)
    return Stored(name, size, kind.media_type)


def _kind(head: bytes) -> Kind:
    kind = sniff(head[:HEAD_BYTES])
    if kind is None:
        accepted = ", ".join(sorted(kind.upper() for kind in BY_EXTENSION))
        raise UploadRejectedError(415, "unsupported_type", f"Accepted types: {accepted}.")
    return kind
