"""What the rules need of the world; `main` gives the real ones."""

from collections.abc import AsyncIterator, Sequence
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
    """Fields of an account and what they become; None takes an optional one away."""

    email: str
    email_key: str
    name: str
    preferred_language: str
    password_hash: str
    devices: tuple[Device, ...]
    two_factor: TwoFactor | None
    enrolment: Enrolment | None
    email_change: EmailChange | None
    deleting_since: datetime


Where = TypedDict(
    "Where",
    {
        "epoch": int,
        "password_hash": str,
        "enrolment.secret": str,
        "email_change.id": str,
    },
    total=False,
)
"""What has to hold for a change to be made, in the same write."""


class Store(Protocol):
    """Accounts, sessions and events; see `store.MongoStore`.

    What is `due` because of a write is stored by the same write of the same document. An
    account whose deletion has begun is found by `overdue` only.
    """

    async def add_user(self, user: User) -> User:
        """Store a user; the same one again is the same. Raises EmailTaken."""

    async def user_by_email(self, key: str) -> User | None:
        """Return the account of an address."""

    async def user(self, user_id: str) -> User | None:
        """Return an account."""

    async def change(
        self,
        user_id: str,
        changes: Changes,
        *,
        where: Where | None = None,
        new_epoch: bool = False,
        due: Sequence[Due] = (),
    ) -> bool:
        """Change an account in one write; False: it is not there, or not as it has to be.

        Raises EmailTaken.
        """

    async def add_device(self, user_id: str, device: Device, due: Due) -> bool:
        """Add a confirmed device; False: it is known, or there is no such account."""

    async def accept_step(self, user_id: str, step: int) -> bool:
        """Take a time step that is newer than every one accepted before; False: it is not."""

    async def renew_recovery(
        self, user_id: str, epoch: int, codes: Sequence[RecoveryCode], due: Due
    ) -> bool:
        """Put new recovery codes in the place of the former; False: another epoch."""

    async def reseal(
        self, user_id: str, part: Literal["two_factor", "enrolment"], before: str, after: str
    ) -> None:
        """Put a secret that was sealed anew in the place of the former."""

    async def use_recovery(self, user_id: str, hashes: Sequence[str], due: Due) -> bool:
        """Take away the recovery code with one of these hashes; False: there is none."""

    async def done(self, user_id: str, due_id: str) -> None:
        """Take off what is not due any more."""

    def overdue(self, before: datetime) -> AsyncIterator[User]:
        """Yield the accounts with something older due, or whose deletion began before."""

    async def delete_user(self, user_id: str) -> bool:
        """Delete an account whose deletion began, once nothing is due; False: something is."""

    async def add_session(self, session: Session, *, expires_at: datetime) -> str:
        """Store a session; return its first refresh token."""

    async def session(self, session_id: str, now: datetime) -> Session | None:
        """Return a live session."""

    async def sessions_of(self, user_id: str, now: datetime) -> list[Session]:
        """Return an account's live sessions, last used first."""

    async def rotate(
        self, refresh_token: str, *, now: datetime, expires_at: datetime, address: str
    ) -> str | None:
        """Exchange a refresh token for the next one; None: it is not good.

        Raises Reused, the session being marked as over.
        """

    async def keep_session(self, session_id: str, epoch: int) -> None:
        """Take a session along into a new epoch of its account."""

    async def revoke(
        self,
        user_id: str,
        now: datetime,
        *,
        only: str | None = None,
        but: str | None = None,
        below: int | None = None,
    ) -> int:
        """Mark sessions as over: one, all but one, those of older epochs; return how many."""

    async def revoked_of(self, user_id: str) -> list[RevokedSession]:
        """Return an account's sessions that are marked as over."""

    def revoked_before(self, before: datetime) -> AsyncIterator[str]:
        """Yield the accounts with sessions marked before."""

    async def forget_sessions(self, session_ids: Sequence[str]) -> None:
        """Delete sessions."""

    async def keep_event(self, event: SecurityEvent) -> None:
        """Store an event; the same one again is the same."""

    async def count_event(self, event: SecurityEvent) -> None:
        """Store an event, or count it one up if it is there."""

    async def events_of(
        self, user_id: str, *, before: datetime | None, limit: int
    ) -> list[SecurityEvent]:
        """Return an account's events, newest first."""

    async def forget_events(self, user_id: str) -> None:
        """Delete an account's events."""


class Requests(Protocol):
    """The queues; see `queues.RabbitRequests`."""

    async def tell(self, queue: Queue, body: Message, *, message_id: str) -> None:
        """Publish durably. Raises BrokerUnavailable, PublishError."""

    async def ask(self, queue: Queue, body: Message, answer: type[M], *, message_id: str) -> M:
        """Publish and wait for the answer. Raises NoAnswer as well."""


class Passwords(Protocol):
    """See `passwords.Argon2`."""

    async def hash(self, password: str) -> str:
        """Return the hash in PHC format."""

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Tell whether the password is right; None takes as long."""

    def outdated(self, hashed: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""


class Limits(Protocol):
    """See `limiting.RedisLimits`. Each that returns seconds means: wait; 0: go on.

    `address` is the client's network address, `device` a confirmed device's hash.
    """

    async def sign_up(self, address: str) -> int:
        """Count a sign-up."""

    async def mail(self, kind: Literal["sign-up", "reset"], email_key: str, address: str) -> int:
        """Count a code that somebody who is not signed in has mailed to an address."""

    async def no_mail(
        self, kind: Literal["sign-up", "reset"], email_key: str, address: str
    ) -> None:
        """Take that back: the code could not be asked for."""

    async def sign_in_wait(self, account: str, address: str, device: str | None) -> int:
        """Look, without counting."""

    async def sign_in_failed(self, account: str, address: str, device: str | None) -> None:
        """Count a wrong password."""

    async def forgive(self, account: str) -> None:
        """Forget the wrong passwords from unknown devices: the owner proved to be one."""

    async def profile_changed(self, account: str) -> int:
        """Count a change that others are told of."""

    async def code_mailed(self, account: str) -> int:
        """Count a code that is about to be mailed to somebody whose password was right."""

    async def code_tried(self, account: str, address: str) -> int:
        """Count a try of a code."""

    async def challenge_tried(self, challenge_id: str) -> int:
        """Count a try of a second factor for one challenge."""


class Resets(Protocol):
    """Resets that were asked for, for ten minutes; see `resets.RedisResets`."""

    async def put(self, reset_id: str, reset: Reset) -> None:
        """Keep a reset."""

    async def get(self, reset_id: str) -> Reset | None:
        """Return a reset."""

    async def drop(self, reset_id: str) -> None:
        """Forget a reset that was used."""


class Signer(Protocol):
    """See `keys.SigningKeys`."""

    def access(self, *, user_id: str, session_id: str, device_hash: str, now: datetime) -> str:
        """Return an access token."""

    def read_access(self, token: str) -> AccessToken:
        """Return what an access token says. Raises InvalidToken."""

    def temporary(self, says: Temporary, now: datetime) -> str:
        """Return a token that is good for one challenge."""

    def read_temporary(self, token: str) -> Temporary | None:
        """Return what a temporary token says; None: not one of ours."""


class Vault(Protocol):
    """See `vault.Vault`. Each raises RingMissing."""

    def seal(self, secret: bytes, owner: str) -> str:
        """Encrypt for one owner."""

    def open(self, sealed: str, owner: str) -> bytes:
        """Decrypt what was sealed for this owner."""

    def stale(self, sealed: str) -> bool:
        """Tell whether it was sealed with another key than the active one."""

    def keyed_hashes(self, text: str, owner: str) -> tuple[str, ...]:
        """Return a text's hash by every key of the ring, the active one's first."""


class CommonPasswords(Protocol):
    """See `common_passwords.load`."""

    def __contains__(self, password: object) -> bool:
        """Tell whether a password, folded, is a common one."""
