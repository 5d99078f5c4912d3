"""What the auth service stores and returns, and the errors of its rules."""

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
        "second_factor_failed",
        "new_device",
        "device_added",
        "signed_out",
        "session_revoked",
        "reset_requested",
        "email_change_requested",
    ]
)
"""Events that are stored for an account; the owner also gets a mail for `SecurityEventKind`."""


class Stored(BaseModel):
    """Base of what is stored: frozen; fields that a newer version added are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Device(Stored):
    """A device that its owner has confirmed with a code."""

    device_hash: str
    os: str | None = None
    notification_token: str | None = None


class RecoveryCode(Stored):
    """An unused recovery code, as a keyed hash."""

    hash: str


class TwoFactor(Stored):
    """An enrolled authenticator."""

    secret: str = Field(repr=False, description="Sealed; see `vault.Vault`.")
    last_step: int = Field(description="The newest time step whose code was accepted.")
    recovery: tuple[RecoveryCode, ...] = ()
    at: datetime


class Enrolment(Stored):
    """An authenticator that has not been confirmed by a right code yet."""

    secret: str = Field(repr=False, description="Sealed.")
    at: datetime
    epoch: int = Field(default=0, description="The account's challenge epoch when it began.")


class EmailChange(Stored):
    """An address change whose codes have been mailed."""

    id: str
    new_email: str
    at: datetime
    epoch: int = Field(default=0, description="The account's challenge epoch when it began.")


class SecurityEvent(Stored):
    """What happened to whose account, when, from which device and address; never a secret."""

    id: str
    user_id: str
    kind: EventKind
    at: datetime
    address: str | None = Field(default=None, description="The client's network address.")
    device_os: str | None = None
    session_id: str | None = None
    count: int = 1


class Due(Stored):
    """What must still follow a write; stored in the written document itself.

    In this order: an event to store, a message to publish, sessions to delete. All of it is
    idempotent by `id`, so it may be repeated after a crash.
    """

    id: str
    at: datetime
    queue: Queue | None = None
    body: str | None = Field(default=None, repr=False, description="The message, as JSON.")
    event: SecurityEvent | None = None
    ends_below: int | None = Field(
        default=None, description="Sessions of older epochs, which have ended, are deleted."
    )
    but: str | None = Field(default=None, description="The session that is not one of them.")

    @classmethod
    def for_message(
        cls,
        queue: Queue,
        body: Message,
        *,
        id: str,  # noqa: A002 (the field's name)
        at: datetime,
        event: SecurityEvent | None = None,
    ) -> Self:
        """Return what is due because a message must be published."""
        text = body.model_dump_json()
        return cls(id=id, at=at, queue=queue, body=text, event=event)

    def without_message(self) -> Self:
        """Return the rest of what is due once the message was published."""
        return self.model_copy(update={"queue": None, "body": None})


class User(Stored):
    """An account. `email` is as typed, `email_key` is unique.

    `epoch` counts the changes of its password and second factor. A session of an older epoch is not
    valid, even if ending it could not be written. `challenge_epoch` also counts the changes of its
    address and recovery codes. No code, reset, address change or enrolment that was begun in an
    older one is valid.
    """

    id: str
    email: str
    email_key: str
    name: str
    password_hash: str = Field(repr=False)
    preferred_language: Language
    created_at: datetime
    devices: tuple[Device, ...] = ()
    devices_version: int = 0
    sign_ins: int = Field(default=0, description="Number of the account's newest sign-in.")
    epoch: int = 0
    challenge_epoch: int = 0
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
    sign_in: int = Field(default=0, description="Number of the account's sign-in that began it.")


class RevokedSession(Stored):
    """A session that has ended and whose end must still be published."""

    id: str
    user_id: str
    revoked_at: datetime
    reused_from: str | None = None
    """The network address from which an old refresh token was used again, if it was."""


class TokenReusedError(Exception):
    """An old refresh token was used again, so it was copied."""


class EmailTakenError(Exception):
    """Another account has this address."""


class NoAnswerError(Exception):
    """No service answered in time; the request is durable nevertheless."""


class KeyRingMissingError(Exception):
    """The at-rest key ring is missing, or lacks the required key."""


class Purpose(Enum):
    """What a temporary token may be used for."""

    MAILED_CODE = "device"
    TOTP = "totp"
    RESET = "reset"
    SIGN_UP = "sign-up"


class Temporary(Stored):
    """The claims of a temporary token.

    `subject` is the account if the password was right, and a random id for a reset or a sign-up,
    which must not reveal whether the account exists.
    """

    purpose: Purpose
    subject: str
    challenge_id: str
    device_hash: str = ""
    epoch: int = Field(default=0, description="The account's challenge epoch.")


class Reset(Stored):
    """A requested reset; `user_id` is empty if no account has the address."""

    user_id: str
    epoch: int = Field(description="The account's challenge epoch.")


class Caller(Stored):
    """A signed-in user: a verified access token, sent from the session's device."""

    user: User
    session: Session
    address: str
    expires_at: datetime = Field(description="When the access token expires.")
