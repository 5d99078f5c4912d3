"""Ids of messages and of deleted users, and times as the wire has them."""

import hashlib
from datetime import UTC, datetime
from typing import Final

TRANSLATOR: Final = "system:translate"
"""The sender of translations; no user's id contains a colon."""

DELETED = "deleted:"
"""Prefix of a deleted user's placeholder."""


def placeholder(user: str) -> str:
    """Return the placeholder of a deleted user.

    A digest of a random id: permanently the same in every room, so that a deletion can be
    repeated, and the user cannot be inferred from it.
    """
    return DELETED + hashlib.sha256(user.encode()).hexdigest()[:32]


def is_placeholder(user: str) -> bool:
    """Return whether this id is a deleted account's placeholder."""
    return user.startswith(DELETED)


def timestamp(at: datetime) -> str:
    """Return a time as the wire has it: ISO 8601, UTC, milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message_id(room: str, rev: int) -> str:
    """Return the id of the message that is event `rev` of a room."""
    return f"{room}.{rev}"


def message_place(identifier: str) -> tuple[str, int] | None:
    """Return the room and the revision in a message's id; None if it is not a valid id."""
    room, _, rev = identifier.rpartition(".")
    return (room, int(rev)) if room and rev.isascii() and rev.isdigit() else None
