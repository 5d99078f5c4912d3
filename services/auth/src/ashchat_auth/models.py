"""What auth keeps and what it answers."""

from datetime import datetime

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


def email_key(address: str) -> str:
    """Return what makes two addresses the same account: case and surrounding space do not count."""
    return address.strip().casefold()
