"""The messages in the queues: versioned, frozen, strict.

Every body is JSON (UTF-8) with a field `v`. A consumer rejects a version that it does not know
to the dead-letter queue, where it waits for a newer consumer. AMQP properties: `message_id` is
the idempotency key, `correlation_id` and `reply_to` pair an answer with its request;
`expiration` is not used (a queue's policy decides).
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

TEXT_MAX_CHARS: Final = 8_000
"""Maximum length of a message text."""

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""The times of messages: services convert them, compare them and add to them."""


def _in_utc(at: datetime) -> datetime:
    # Compared first: near the ends of the calendar, the conversion overflows.
    if not _EARLIEST <= at < _LATEST:
        raise ValueError("not between the years 1970 and 9000")
    return at.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time, in UTC. One without an offset is an error: it could not be compared with the clock."""

Language = str
"""A BCP 47 language tag, lower-case primary subtag ("es", "pt"), as clients send it."""


class Message(BaseModel):
    """Base of every body: frozen; unknown fields are rejected.

    Validation errors do not contain their input, because they are logged and a body is private.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        # What is published has every field.
        json_schema_serialization_defaults_required=True,
    )


class TranslateJob(Message):
    """chat → translate: translate one text. Queue: TRANSLATE_QUEUE."""

    v: Literal[1] = 1
    room: str
    message: str = Field(description="The message's id in the room's log.")
    text_version: int = Field(
        ge=1, description="1 for the original; of an edit, its revision in the log."
    )
    text: str = Field(max_length=TEXT_MAX_CHARS)
    sender: str = Field(description="The account whose turn it is, so that none delays others.")
    source: Language | None = Field(description="The sender's language; None if unknown.")
    targets: tuple[Language, ...] = Field(
        min_length=1, description="The languages of the other members."
    )
    requested_at: Time


class TranslationResult(Message):
    """translate → chat: the result of a job in one language. Queue: TRANSLATED_QUEUE.

    Delivered at least once; idempotent by (room, message, text_version, target).
    """

    v: Literal[1] = 1
    room: str
    message: str
    text_version: int = Field(ge=1)
    target: Language
    source: Language | None
    outcome: Literal["translated", "unchanged", "failed"]
    text: str | None = Field(description="The translation; None unless outcome is translated.")
    provider: str | None = Field(description="The provider of the (cached) translation.")
    reason: str | None = Field(default=None, description="Machine-readable reason of a failure.")


class ConfirmNewAccount(Message):
    """auth → chat: a new account exists. Queue: CONFIRM_NEW_ACCOUNT_QUEUE; answered."""

    v: Literal[1] = 1
    user_id: str
    nickname: str
    preferred_language: Language
    device_token_hash: str = Field(description="SHA-256 of the device token, in hex.")
    notification_token: str | None = None


class AccountConfirmed(Message):
    """chat → auth: the profile is stored. Exchange: auth.replies."""

    v: Literal[1] = 1
    user_id: str
    tag_user_id: str


class ConfirmedDevice(Message):
    """A device of an account."""

    device_token_hash: str = Field(description="SHA-256 of the device token, in hex.")
    notification_token: str | None = None


class DevicesChanged(Message):
    """auth → chat: all confirmed devices of an account. Queue: CHANGE_DEVICE_TOKEN_QUEUE.

    The highest version wins; an older message that arrives late has no effect. The first device
    of an account, which `ConfirmNewAccount` names, is version 0.
    """

    v: Literal[1] = 1
    user_id: str
    version: int = Field(ge=1)
    devices: tuple[ConfirmedDevice, ...]


class AccountCreation(Message):
    """auth → email: a sign-up was requested. Queue: ACCOUNT_CREATION_QUEUE.

    Idempotent by `sign_up_id`: a redelivery mails the same code under the same Message-ID. A taken
    address is stored like a free one, so that checks of codes are answered alike.
    """

    v: Literal[1] = 1
    kind: Literal["sign_up", "address_taken"] = Field(
        description="address_taken: the owner gets a notice instead of a code."
    )
    sign_up_id: str
    email: str
    nickname: str
    password_hash: str | None = Field(description="argon2id, PHC format; None: address_taken.")
    preferred_language: Language
    requested_at: Time


class PendingAccount(Message):
    """A sign-up whose code was right, as stored by the email service."""

    sign_up_id: str
    email: str
    nickname: str
    password_hash: str
    preferred_language: Language


CodeRefusal = Literal["wrong_code", "expired", "too_many_tries"]
"""Why a code was refused. `expired` also means that the code was used, or never existed."""


class ConfirmEmailCode(Message):
    """auth → email: check a sign-up's code. Queue: CONFIRM_EMAIL_CODE_QUEUE.

    With `sign_up_id` the code of that sign-up is checked, without it the code of the newest sign-up
    of the address. `settled` means that the user is stored, so the pending account can be deleted.
    """

    v: Literal[1] = 1
    kind: Literal["confirm", "settled"]
    request_id: str
    email: str
    code: str | None = None
    sign_up_id: str | None = None
    deadline: Time | None = Field(
        default=None, description="When the caller stops waiting for the answer."
    )


class ConfirmEmailCodeReply(Message):
    """email → auth: the answer; the same for a repeated request. Exchange: auth.replies."""

    v: Literal[1] = 1
    request_id: str
    account: PendingAccount | None = None
    refusal: CodeRefusal | None = None


class NewDeviceCode(Message):
    """auth → email: mail a code for a new device. Queue: CONFIRM_NEW_DEVICE_QUEUE."""

    v: Literal[1] = 1
    challenge_id: str
    user_id: str
    email: str
    nickname: str
    preferred_language: Language
    requested_at: Time


class ConfirmNewDevice(Message):
    """auth → email: check a device's code. Queue: CONFIRM_NEW_DEVICE_REPLY_QUEUE."""

    v: Literal[1] = 1
    kind: Literal["confirm", "settled"]
    request_id: str
    challenge_id: str
    code: str | None = None
    deadline: Time | None = None


class ConfirmNewDeviceReply(Message):
    """email → auth: the answer. Exchange: auth.replies."""

    v: Literal[1] = 1
    request_id: str
    refusal: CodeRefusal | None = None


class ChangePassword(Message):
    """auth → email: mail a code for a new password. Queue: CHANGE_PASSWORD_QUEUE.

    `no_account` is sent for an unknown address, so that a request takes auth the same time; the
    email service drops it.
    """

    v: Literal[1] = 1
    kind: Literal["reset", "no_account"]
    reset_id: str
    email: str
    nickname: str
    preferred_language: Language
    requested_at: Time


class ConfirmChangePassword(Message):
    """auth → email: check a reset's code. Queue: CONFIRM_CHANGE_PASSWORD_QUEUE."""

    v: Literal[1] = 1
    kind: Literal["confirm", "settled"]
    request_id: str
    reset_id: str
    code: str | None = None
    deadline: Time | None = None


class ConfirmChangePasswordReply(Message):
    """email → auth: the answer. Exchange: auth.replies."""

    v: Literal[1] = 1
    request_id: str
    refusal: CodeRefusal | None = None


class ChangeEmail(Message):
    """auth → email: mail a code to both addresses of a change. Queue: CHANGE_EMAIL_QUEUE.

    `address_taken`: the new address has an account, whose owner gets a notice instead of a
    code. The old address gets its code nevertheless, so that the response reveals nothing.
    """

    v: Literal[1] = 1
    kind: Literal["change", "address_taken"]
    change_id: str
    old_email: str
    new_email: str
    nickname: str
    preferred_language: Language
    requested_at: Time


class ConfirmChangeEmail(Message):
    """auth → email: check both codes of an address change. Queue: CONFIRM_CHANGE_EMAIL_QUEUE."""

    v: Literal[1] = 1
    kind: Literal["confirm", "settled"]
    request_id: str
    change_id: str
    old_code: str | None = None
    new_code: str | None = None
    deadline: Time | None = None


class ConfirmChangeEmailReply(Message):
    """email → auth: the answer; `new_email` is set if both codes were right."""

    v: Literal[1] = 1
    request_id: str
    new_email: str | None = None
    refusal: CodeRefusal | None = None


SecurityEventKind = Literal[
    "password_changed",
    "password_reset",
    "two_factor_enabled",
    "two_factor_disabled",
    "second_factor_guessed",
    "recovery_code_used",
    "recovery_codes_renewed",
    "email_changed",
    "session_reuse",
    "account_deleted",
]
"""Security events that an account's owner gets a mail about."""


class SecurityNotice(Message):
    """auth → email: mail a notice to an account's owner. Queue: SECURITY_NOTICE_QUEUE."""

    v: Literal[1] = 1
    notice_id: str
    event: SecurityEventKind
    email: str
    nickname: str
    preferred_language: Language
    at: Time


SESSION_IDS_MAX: Final = 100
"""Maximum sessions that one `SessionRevoked` names."""


class SessionRevoked(Message):
    """auth → chat, static: sessions of an account have ended; their access tokens are refused.

    Either some sessions are named, or all whose epoch is older have ended, so the message has the
    same size for any number of them. Queues: SESSION_REVOKED_CHAT_QUEUE,
    SESSION_REVOKED_STATIC_QUEUE.
    """

    v: Literal[1] = 1
    user_id: str
    session_ids: tuple[str, ...] = Field(default=(), max_length=SESSION_IDS_MAX)
    below: int = Field(default=0, ge=0, description="Sessions of older epochs have ended.")
    but: str | None = Field(
        default=None, description="The session that started the new epoch, and continues."
    )
    at: Time


class ProfileChanged(Message):
    """auth → chat: a user's new name or language. Queue: PROFILE_CHANGED_QUEUE.

    The newest by `at` wins; an older message that arrives late has no effect.
    """

    v: Literal[1] = 1
    user_id: str
    nickname: str | None = None
    preferred_language: Language | None = None
    at: Time


class AccountDeletion(Message):
    """auth → chat, static: delete a user's data.

    Queues: ACCOUNT_DELETION_CHAT_QUEUE, ACCOUNT_DELETION_STATIC_QUEUE.
    """

    v: Literal[1] = 1
    user_id: str
    at: Time
