"""What auth keeps and what it answers."""

from datetime import datetime
from enum import Enum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ashchat_core.messages import Language, Message, SecurityEventKind
from ashchat_core.topology import Queue

EventKind = (
    SecurityEventKind
    | Literal[
        "account_made",
        "signed_in",
        "sign_in_failed",
        "new_device",
        "device_added",
        "signed_out",
        "session_revoked",
        "reset_requested",
        "email_change_requested",
    ]
)
"""What is kept of an account's life; the owner is mailed a notice of `SecurityEventKind` too."""


class Stored(BaseModel):
    """The base of what is kept: frozen, and what a newer version added is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Device(Stored):
    """A device that its owner has confirmed by a code."""

    device_hash: str
    os: str | None = None
    notification_token: str | None = None


class RecoveryCode(Stored):
    """A recovery code that was not used yet, as a keyed hash."""

    hash: str


class TwoFactor(Stored):
    """An enrolled authenticator."""

    secret: str = Field(repr=False, description="Sealed; see `vault.Vault`.")
    last_step: int = Field(description="The newest time step whose code was accepted.")
    recovery: tuple[RecoveryCode, ...] = ()
    at: datetime


class Enrolment(Stored):
    """An authenticator that has still to show a right code."""

    secret: str = Field(repr=False, description="Sealed.")
    at: datetime


class EmailChange(Stored):
    """An address change whose codes are on their way."""

    id: str
    new_email: str
    at: datetime


class SecurityEvent(Stored):
    """Who (whose account, from which device and address), what, when; never a secret."""

    id: str
    user_id: str
    kind: EventKind
    at: datetime
    address: str | None = Field(default=None, description="The client's network address.")
    device_os: str | None = None
    session_id: str | None = None
    count: int = 1


class Due(Stored):
    """What has still to happen because of a write; it lies in the written document itself.

    Sessions to end, an event for the owner's list, a message for a queue: in this order.
    All of it is idempotent, by `id`, so it may happen again after a crash.
    """

    id: str
    at: datetime
    queue: Queue | None = None
    body: str | None = Field(default=None, repr=False, description="The message, as JSON.")
    event: SecurityEvent | None = None
    ends_below: int | None = Field(default=None, description="Sessions of older epochs are over.")

    @classmethod
    def telling(
        cls,
        queue: Queue,
        body: Message,
        *,
        id: str,  # noqa: A002 (the field's name)
        at: datetime,
        event: SecurityEvent | None = None,
        ends_below: int | None = None,
    ) -> Self:
        """Return a message that is to be published."""
        text = body.model_dump_json()
        return cls(id=id, at=at, queue=queue, body=text, event=event, ends_below=ends_below)


class User(Stored):
    """An account. `email` is as typed, `email_key` what is unique.

    `epoch` counts the changes of its password and second factor: a session or a challenge
    of an older epoch is over, whatever else may have failed to be written.
    """

    id: str
    email: str
    email_key: str
    name: str
    password_hash: str = Field(repr=False)
    preferred_language: Language
    created_at: datetime
    devices: tuple[Device, ...] = ()
    epoch: int = 0
    two_factor: TwoFactor | None = None
    enrolment: Enrolment | None = None
    email_change: EmailChange | None = None
    deleting_since: datetime | None = None
    due: tuple[Due, ...] = ()

    def device(self, device_hash: str) -> Device | None:
        """Return a confirmed device."""
        return next((item for item in self.devices if item.device_hash == device_hash), None)


class Session(Stored):
    """One sign-in on one device: a chain of refresh tokens."""

    id: str
    user_id: str
    device_hash: str
    created_at: datetime
    used_at: datetime
    epoch: int = 0


class RevokedSession(Stored):
    """A session that is over and of which this has still to be told."""

    id: str
    user_id: str
    revoked_at: datetime
    reused_from: str | None = None
    """The network address from which an old refresh token was used again."""


class Reused(Exception):
    """An old refresh token was used again: it is in two hands."""


class EmailTaken(Exception):
    """Another account has this address."""


class NoAnswer(Exception):
    """Nobody answered in time; the request is durable all the same."""


class RingMissing(Exception):
    """The key ring for secrets at rest is not there, or lacks the key that is needed."""


class Purpose(Enum):
    """What a temporary token is good for."""

    MAILED_CODE = "device"
    TOTP = "totp"
    RESET = "reset"


class Temporary(Stored):
    """What a temporary token says.

    `subject` is the account where the password was right, and a random id for a reset,
    which must not tell whether there is an account.
    """

    purpose: Purpose
    subject: str
    challenge_id: str
    device_hash: str = ""
    epoch: int = 0


class Reset(Stored):
    """A reset that was asked for; `user_id` is empty where nobody has the address."""

    user_id: str
    epoch: int


class Caller(Stored):
    """Somebody who is signed in: by a verified access token, on its own device."""

    user: User
    session: Session
    address: str


def email_key(address: str) -> str:
    """Return what makes two addresses the same account: case and surrounding space do not count."""
    return address.strip().casefold()
