"""What travels through the queues: versioned, frozen, strict.

Every body is JSON (UTF-8) with a field `v`; a consumer that meets a version it does not
know rejects the message to the dead-letter queue, where it waits for a newer consumer.
AMQP properties: `message_id` is the idempotency key, `correlation_id` and `reply_to` pair
an answer with its request, `expiration` is not used (a queue's policy decides).
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

TEXT_MAX_CHARS = 8_000
"""The longest message text, in characters."""

Language = str
"""A BCP 47 language tag, lower-case primary subtag ("es", "pt"), as the clients send it."""


class Message(BaseModel):
    """The base of every body: frozen, and unknown fields are refused.

    Errors do not show their input: they are logged, and a body is private.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TranslateJob(Message):
    """chat → translate: one text, wanted in some languages. Queue: TRANSLATE_QUEUE."""

    v: Literal[1] = 1
    room: str
    message: str = Field(description="The id of the message in the room's log.")
    text_version: int = Field(ge=1, description="1 for the original, +1 for every edit.")
    text: str = Field(max_length=TEXT_MAX_CHARS)
    source: Language | None = Field(description="The writer's language; None: unknown.")
    targets: tuple[Language, ...] = Field(min_length=1, description="What members read.")
    requested_at: datetime


class TranslationResult(Message):
    """translate → chat: one language of one job. Queue: TRANSLATED_QUEUE.

    Results come at least once; (room, message, text_version, target) makes them idempotent.
    """

    v: Literal[1] = 1
    room: str
    message: str
    text_version: int = Field(ge=1)
    target: Language
    source: Language | None
    outcome: Literal["translated", "unchanged", "failed"]
    text: str | None = Field(description="The translation; None unless outcome is translated.")
    provider: str | None = Field(description="Who translated, or whose answer was cached.")
    reason: str | None = Field(default=None, description="Why it failed: machine-readable.")


class ConfirmNewAccount(Message):
    """auth → chat: a new account exists. Queue: CONFIRM_NEW_ACCOUNT_QUEUE; wants an answer."""

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


class ChangeDeviceToken(Message):
    """auth → chat: a device was added to an account. Queue: CHANGE_DEVICE_TOKEN_QUEUE."""

    v: Literal[1] = 1
    user_id: str
    device_token_hash: str
    notification_token: str | None = None


class AccountCreation(Message):
    """auth → email: somebody signed up. Queue: ACCOUNT_CREATION_QUEUE.

    Idempotent by `sign_up_id`: a redelivery mails the same code under the same Message-ID.
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
    requested_at: datetime


class PendingAccount(Message):
    """A sign-up whose code was right, as email kept it."""

    sign_up_id: str
    email: str
    nickname: str
    password_hash: str
    preferred_language: Language


CodeRefusal = Literal["wrong_code", "expired", "too_many_tries"]
"""Why a code was refused. `expired` also says: there was never such a sign-up."""


class ConfirmEmailCode(Message):
    """auth → email: is this the code? Queue: CONFIRM_EMAIL_CODE_QUEUE.

    `settled` says that the user is stored, so the pending account can go.
    """

    v: Literal[1] = 1
    kind: Literal["confirm", "settled"]
    request_id: str
    email: str
    code: str | None = None
    sign_up_id: str | None = None
    deadline: datetime | None = Field(
        default=None, description="After this nobody waits for the answer."
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
    requested_at: datetime


class ConfirmNewDevice(Message):
    """auth → email: is this the device's code? Queue: CONFIRM_NEW_DEVICE_REPLY_QUEUE."""

    v: Literal[1] = 1
    kind: Literal["confirm", "settled"]
    request_id: str
    challenge_id: str
    code: str | None = None
    deadline: datetime | None = None


class ConfirmNewDeviceReply(Message):
    """email → auth: the answer. Exchange: auth.replies."""

    v: Literal[1] = 1
    request_id: str
    refusal: CodeRefusal | None = None


class ChangePassword(Message):
    """auth → email: mail a code for a new password. Queue: CHANGE_PASSWORD_QUEUE.

    `no_account` is sent for an address nobody has, so that asking costs auth the same time;
    email drops it.
    """

    v: Literal[1] = 1
    kind: Literal["reset", "no_account"]
    reset_id: str
    email: str
    nickname: str
    preferred_language: Language
    requested_at: datetime


class ConfirmChangePassword(Message):
    """auth → email: is this the reset's code? Queue: CONFIRM_CHANGE_PASSWORD_QUEUE."""

    v: Literal[1] = 1
    kind: Literal["confirm", "settled"]
    request_id: str
    reset_id: str
    code: str | None = None
    deadline: datetime | None = None


class ConfirmChangePasswordReply(Message):
    """email → auth: the answer. Exchange: auth.replies."""

    v: Literal[1] = 1
    request_id: str
    refusal: CodeRefusal | None = None


class ChangeEmail(Message):
    """auth → email: mail one code to each end of an address change. Queue: CHANGE_EMAIL_QUEUE.

    `address_taken`: the new address has an account; its owner gets a notice instead of a
    code, the old end gets its code all the same, so that the answer tells nothing.
    """

    v: Literal[1] = 1
    kind: Literal["change", "address_taken"]
    change_id: str
    old_email: str
    new_email: str
    nickname: str
    preferred_language: Language
    requested_at: datetime


class ConfirmChangeEmail(Message):
    """auth → email: are these both codes? Queue: CONFIRM_CHANGE_EMAIL_QUEUE."""

    v: Literal[1] = 1
    kind: Literal["confirm", "settled"]
    request_id: str
    change_id: str
    old_code: str | None = None
    new_code: str | None = None
    deadline: datetime | None = None


class ConfirmChangeEmailReply(Message):
    """email → auth: the answer; `new_email` when both codes were right."""

    v: Literal[1] = 1
    request_id: str
    new_email: str | None = None
    refusal: CodeRefusal | None = None


SecurityEventKind = Literal[
    "password_changed",
    "password_reset",
    "two_factor_enabled",
    "two_factor_disabled",
    "recovery_code_used",
    "recovery_codes_renewed",
    "email_changed",
    "session_reuse",
    "account_deleted",
]
"""What an account's owner is mailed a notice of."""


class SecurityNotice(Message):
    """auth → email: tell an owner what happened. Queue: SECURITY_NOTICE_QUEUE."""

    v: Literal[1] = 1
    notice_id: str
    event: SecurityEventKind
    email: str
    nickname: str
    preferred_language: Language
    at: datetime


class SessionRevoked(Message):
    """auth → chat: sessions are over; their sockets are closed. Queue: SESSION_REVOKED_QUEUE."""

    v: Literal[1] = 1
    user_id: str
    session_ids: tuple[str, ...] = Field(min_length=1)
    at: datetime


class ProfileChanged(Message):
    """auth → chat: what a person is called and reads. Queue: PROFILE_CHANGED_QUEUE.

    The newest by `at` wins; an older one that arrives late changes nothing.
    """

    v: Literal[1] = 1
    user_id: str
    nickname: str | None = None
    preferred_language: Language | None = None
    at: datetime


class AccountDeletion(Message):
    """auth → chat, static: remove what there is of a person.

    Queues: ACCOUNT_DELETION_CHAT_QUEUE, ACCOUNT_DELETION_STATIC_QUEUE.
    """

    v: Literal[1] = 1
    user_id: str
    at: datetime
