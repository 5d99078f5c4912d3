"""Protocols of the adapters that the rules need; `main` provides the implementations."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypedDict, TypeVar

from ashchat_auth.models import (
    Device,
    Due,
    EmailChange,
    Enrolment,
    RecoveryCode,
    Reset,
    RevokedSession,
    SecurityEvent,
    Session,
    Temporary,
    TwoFactor,
    User,
)
from ashchat_core.messages import Message
from ashchat_core.tokens import AccessToken
from ashchat_core.topology import Queue

M = TypeVar("M", bound=Message)


class Changes(TypedDict, total=False):
    """New values for fields of an account; None removes an optional one."""

    email: str
    email_key: str
    name: str
    preferred_language: str
    password_hash: str
    devices: tuple[Device, ...]
    devices_version: int
    two_factor: TwoFactor | None
    enrolment: Enrolment | None
    email_change: EmailChange | None
    deleting_since: datetime


Where = TypedDict(
    "Where",
    {
        "epoch": int,
        "challenge_epoch": int,
        "devices_version": int,
        "password_hash": str,
        "enrolment.secret": str,
        "email_change.id": str,
    },
    total=False,
)
"""Conditions of a change, checked by the same write."""

Ends = Literal["nothing", "challenges", "sessions"]
"""What a change ends: challenges (codes, resets, address changes, enrolments), or sessions too."""


class Accounts(Protocol):
    """Accounts; see `store.MongoUsers`.

    What is `due` because of a write is stored by the same write in the same document. Only
    `overdue` returns accounts whose deletion has begun.
    """

    async def add_user(self, user: User) -> User:
        """Store a user; storing it again returns the stored one. Raises EmailTakenError."""

    async def user_by_email(self, key: str) -> User | None:
        """Return the account with an address."""

    async def user(self, user_id: str) -> User | None:
        """Return an account."""

    async def change(
        self,
        user_id: str,
        changes: Changes,
        *,
        where: Where | None = None,
        ends: Ends = "nothing",
        due: Sequence[Due] = (),
    ) -> bool:
        """Change an account in one write; False if it does not exist or `where` does not hold.

        Raises EmailTakenError.
        """

    async def remove_due(self, user_id: str, due_id: str) -> None:
        """Remove what is done from what is due."""

    def overdue(self, before: datetime) -> AsyncIterator[User]:
        """Yield the accounts with something due, or whose deletion began, before a time."""

    async def delete_user(self, user_id: str) -> bool:
        """Delete an account whose deletion began; False if something is still due."""


class FactorStore(Protocol):
    """Second factors of accounts; see `store.MongoFactors`."""

    async def accept_step(self, user_id: str, step: int) -> bool:
        """Accept a time step; False if it is not newer than every accepted one."""

    async def renew_recovery(
        self, user_id: str, epoch: int, codes: Sequence[RecoveryCode], due: Due
    ) -> bool:
        """Replace the recovery codes, which ends challenges; False if the epoch has changed."""

    async def reseal(
        self, user_id: str, part: Literal["two_factor", "enrolment"], before: str, after: str
    ) -> None:
        """Replace a sealed secret by its re-encrypted form."""

    async def use_recovery(self, user_id: str, hashes: Sequence[str], due: Due) -> bool:
        """Remove the recovery code with one of these hashes; False if there is none."""


class SessionStore(Protocol):
    """Sessions; see `store.MongoSessions`."""

    async def next_sign_in(self, user_id: str) -> int:
        """Count a sign-in; return its number, which no other sign-in of the account has."""

    async def add_session(self, session: Session, *, expires_at: datetime) -> str:
        """Store a session; return its first refresh token."""

    async def session(self, session_id: str, now: datetime) -> Session | None:
        """Return a live session."""

    async def sessions_of(self, user_id: str, now: datetime) -> list[Session]:
        """Return an account's live sessions, last used first."""

    async def rotate(
        self, refresh_token: str, *, now: datetime, expires_at: datetime, address: str
    ) -> str | None:
        """Exchange a refresh token for the next one; None if it is not valid.

        Raises TokenReusedError and marks the session as ended.
        """

    async def set_session_epoch(self, session_id: str, epoch: int) -> None:
        """Move a session to a new epoch of its account."""

    async def revoke(self, user_id: str, now: datetime, *, only: str | None = None) -> int:
        """Mark the sessions of an account, or one of them, as ended; return their number."""

    async def end_replaced(self, session: Session, now: datetime) -> int:
        """Mark all but the newest session of a session's device as ended; return their number.

        To be called after the session is stored. Of concurrent sign-ins, each sees the others'
        sessions or is seen by them, so that one session remains: that of the newest.
        """

    async def revoked_of(self, user_id: str) -> list[RevokedSession]:
        """Return a page of an account's sessions that are marked as ended."""

    def revoked_before(self, before: datetime) -> AsyncIterator[str]:
        """Yield the accounts with sessions that were marked before a time."""

    async def delete_sessions(self, session_ids: Sequence[str]) -> None:
        """Delete sessions."""

    async def delete_ended(
        self, user_id: str, *, below: int | None = None, but: str | None = None
    ) -> bool:
        """Delete a page of the sessions of older epochs, or of all; True if none is left."""


class EventStore(Protocol):
    """Security events; see `store.MongoEvents`."""

    async def store_event(self, event: SecurityEvent) -> None:
        """Store an event; storing it again changes nothing."""

    async def count_event(self, event: SecurityEvent) -> None:
        """Store an event, or increment its count if it exists."""

    async def events_of(
        self, user_id: str, *, before: datetime | None, limit: int
    ) -> list[SecurityEvent]:
        """Return an account's events, newest first."""

    async def delete_events(self, user_id: str) -> bool:
        """Delete a page of an account's events; True if none is left."""


class Store(Accounts, FactorStore, SessionStore, EventStore, Protocol):
    """Everything that auth stores; see `store.MongoStore`."""


class Requests(Protocol):
    """The queues; see `requests.RabbitRequests`."""

    async def publish(self, queue: Queue, body: Message, *, message_id: str) -> None:
        """Publish durably. Raises BrokerUnavailableError, PublishError."""

    async def ask(self, queue: Queue, body: Message, answer: type[M], *, message_id: str) -> M:
        """Publish and wait for the answer. Raises NoAnswerError, too."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose password is hashed. Known devices are served before strangers.

    Attributes:
        address: The client's network address.
        account: The account, if the client uses one of its confirmed devices.
    """

    address: str
    account: str | None = None


class Passwords(Protocol):
    """See `passwords.Argon2`. Both raise UnavailableError if too many wait."""

    async def hash(self, password: str, asker: Asker) -> str:
        """Return the hash in PHC format."""

    async def verify(self, hashed: str | None, password: str, asker: Asker) -> bool:
        """Return whether the password is right; None takes as long."""

    def outdated(self, hashed: str) -> bool:
        """Return whether a hash was computed with other parameters than the current ones."""


class Limits(Protocol):
    """See `limits.AuthLimits`. A returned number is how many seconds to wait; 0: none.

    `address` is the client's network address, `device` a confirmed device's hash.
    """

    devices_max: int
    """Maximum devices of an account; another one replaces the oldest."""

    async def mail(self, kind: Literal["sign-up", "reset"], email_key: str, address: str) -> int:
        """Charge a code that a client without a session has mailed to an address."""

    async def uncount_mail(
        self, kind: Literal["sign-up", "reset"], email_key: str, address: str
    ) -> None:
        """Return what `mail` charged, because the code could not be requested."""

    async def password_tried(self, account: str, address: str, device: str | None) -> int:
        """Charge a password before it is compared."""

    async def password_right(self, account: str, address: str, device: str | None) -> None:
        """Return what `password_tried` charged, because the password was right."""

    async def forgive(self, account: str) -> None:
        """Forget the wrong passwords of strangers, after a reset by mail."""

    async def signed_in(self, account: str, device: str) -> int:
        """Charge a sign-in on a confirmed device with a right password."""

    async def profile_changed(self, account: str) -> int:
        """Charge a profile change."""

    async def code_mailed(self, account: str) -> int:
        """Charge a code that will be mailed to a user whose password was right."""

    async def code_tried(self, subject: str, address: str) -> int:
        """Charge a mailed code before it is compared."""

    async def code_right(self, subject: str, address: str) -> None:
        """Return what `code_tried` charged, because the code was right."""

    async def challenge_tried(self, challenge_id: str) -> int:
        """Charge an attempt at a second factor to one challenge."""

    async def factor_tried(self, account: str) -> int:
        """Charge an authenticator's code before it is compared, wherever it comes from."""

    async def factor_right(self, account: str) -> None:
        """Return what `factor_tried` charged, because the code was right."""

    async def factor_wrong(self, account: str) -> bool:
        """Return whether the owner must be informed of wrong codes now."""


class Resets(Protocol):
    """Requested resets, stored for ten minutes; see `resets.RedisResets`."""

    async def put(self, reset_id: str, reset: Reset) -> None:
        """Store a reset."""

    async def get(self, reset_id: str) -> Reset | None:
        """Return a reset."""

    async def drop(self, reset_id: str) -> None:
        """Delete a reset that was used."""


class Signer(Protocol):
    """See `keys.SigningKeys`."""

    def access(
        self, *, user_id: str, session_id: str, epoch: int, device_hash: str, now: datetime
    ) -> str:
        """Return an access token."""

    def socket_ticket(
        self, *, user_id: str, session_id: str, epoch: int, until: datetime, now: datetime
    ) -> str:
        """Return a ticket that opens one socket, which is closed at `until`."""

    def read_access(self, token: str) -> AccessToken:
        """Return the claims of an access token. Raises InvalidTokenError."""

    def temporary(self, claims: Temporary, now: datetime) -> str:
        """Return a token for one challenge."""

    def read_temporary(self, token: str) -> Temporary | None:
        """Return the claims of a temporary token; None if it is not valid."""


class Vault(Protocol):
    """See `vault.Vault`. Each raises KeyRingMissingError."""

    def seal(self, secret: bytes, owner: str) -> str:
        """Encrypt for one owner."""

    def open(self, sealed: str, owner: str) -> bytes:
        """Decrypt what was sealed for this owner."""

    def stale(self, sealed: str) -> bool:
        """Return whether it was sealed with a key other than the active one."""

    def keyed_hashes(self, text: str, owner: str) -> tuple[str, ...]:
        """Return a text's hash with every key of the ring, the active one first."""


class CommonPasswords(Protocol):
    """See `common_passwords.load`."""

    def __contains__(self, password: object) -> bool:
        """Return whether a folded password is a common one."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The adapters of all flows."""

    store: Store
    requests: Requests
    passwords: Passwords
    common_passwords: CommonPasswords
    signer: Signer
    limits: Limits
    resets: Resets
    vault: Vault
