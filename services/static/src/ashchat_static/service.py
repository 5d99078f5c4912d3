"""The rules of uploading: how large, of what type, under which name.

No files here: what is written to is a `Draft`, and the store knows how to make one.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from ashchat_static.kinds import BY_EXTENSION, HEAD_BYTES, Kind, sniff

DEFAULT_AVATAR: Final = "default-avatar.png"
"""The file everybody's picture is until they upload one; shipped, not uploaded."""

_NAME: Final = re.compile(r"[0-9a-f]{64}\.([a-z0-9]{1,5})", re.ASCII)


class UploadRejectedError(Exception):
    """An upload that is not taken."""

    def __init__(self, status: int, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason


def too_large(max_bytes: int) -> UploadRejectedError:
    """Return the refusal of a file that has more bytes."""
    return UploadRejectedError(413, "too_large", f"a file may have {max_bytes} bytes")


class StorageFullError(Exception):
    """There is no room on the volume."""


class OwnerDeletedError(Exception):
    """Whose upload it would be has deleted their account."""


class Draft(Protocol):
    """A file that is being written, and that nobody sees before `commit`."""

    async def write(self, data: bytes) -> None:
        """Append.

        Raises:
            StorageFullError: no room.
        """
        ...

    async def commit(self, name: str, owner: str) -> None:
        """Make it last, under a name; a file of that name has the same content and owner.

        Raises:
            StorageFullError: no room.
            OwnerDeletedError: they have deleted their account.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that was taken."""

    name: str
    size: int
    media_type: str

    @property
    def url(self) -> str:
        """Where it is, from the platform's root."""
        return f"/files/{self.name}"


def kind_of(name: str) -> Kind | None:
    """Return the type of a stored file by its name; None: no name of ours.

    The only names there are have this shape, so no path can be hidden in one.
    """
    match = _NAME.fullmatch(name)
    return BY_EXTENSION.get(match[1]) if match else None


def owner_of(user_id: str) -> str:
    """Return the name under which somebody's uploads are kept: it does not tell who it is."""
    return hashlib.sha256(user_id.encode()).hexdigest()


async def take(data: AsyncIterator[bytes], draft: Draft, *, owner: str, max_bytes: int) -> Stored:
    """Write an upload as it arrives, and name it by its owner and its content.

    By its owner too: so a file has one, and goes with them, whoever else has the same; and
    nobody learns from a name that somebody has a certain picture.

    Raises:
        UploadRejectedError: too large (413), of no type that is taken (415), empty (400).
        StorageFullError: no room.
        OwnerDeletedError: they have deleted their account.
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
        raise UploadRejectedError(400, "empty", "there is no file in this request")
    kind = kind or _kind(head)
    name = f"{digest.hexdigest()}.{kind.extension}"
    await draft.commit(name, owner)
    return Stored(name, size, kind.media_type)


def _kind(head: bytes) -> Kind:
    kind = sniff(head[:HEAD_BYTES])
    if kind is None:
        taken = ", ".join(sorted(kind.upper() for kind in BY_EXTENSION))
        raise UploadRejectedError(
            415, "unsupported_type", f"files of these types are taken: {taken}"
        )
    return kind
