"""What auth keeps and what it answers."""

from datetime import datetime
from enum import Enum

from pydantic import BaseModel, ConfigDict


class User(BaseModel):
    """An account. `email` is as typed, `email_key` what is unique."""

    model_config = ConfigDict(frozen=True)

    id: str
    email: str
    email_key: str
    name: str
    password_hash: str
    preferred_language: str
    created_at: datetime


class Session(BaseModel):
    """One sign-in on one device: a chain of refresh tokens."""

    model_config = ConfigDict(frozen=True)

    id: str
    user_id: str
    device_hash: str
    created_at: datetime
    used_at: datetime


class Device(BaseModel):
    """A device that its owner has confirmed by a mailed code."""

    model_config = ConfigDict(frozen=True)

    device_hash: str
    os: str | None = None
    notification_token: str | None = None


class DeviceAdded(Enum):
    """What became of a device that was to be added."""

    NO_ACCOUNT = "no account"
    KNOWN = "known"
    MARKED = "marked"
    """Added, and the mark that it has to be announced is for it alone."""

    MARKED_WITH_OTHERS = "marked with others"
    """Added, and something else of this account has still to be announced too."""


class EmailTaken(Exception):
    """Another account has this address."""


class NoAnswer(Exception):
    """Nobody answered in time; the request is durable all the same."""


def email_key(address: str) -> str:
    """Return what makes two addresses the same account: case and surrounding space do not count."""
    return address.strip().casefold()
