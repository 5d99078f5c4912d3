"""The rules of accounts: sign-up, sign-in, devices, refresh. No I/O library here.

What they need of the world is said by the protocols below; `main` gives the real ones.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from ashchat_auth.models import (
    Device,
    DeviceAdded,
    EmailTaken,
    NoAnswer,
    Session,
    User,
    email_key,
)
from ashchat_core.errors import APIError, BrokerUnavailable, PublishError, Unavailable
from ashchat_core.messages import (
    AccountConfirmed,
    AccountCreation,
    ChangeDeviceToken,
    ConfirmEmailCode,
    ConfirmEmailCodeReply,
    ConfirmNewAccount,
    ConfirmNewDevice,
    ConfirmNewDeviceReply,
    Message,
    NewDeviceCode,
    PendingAccount,
)
from ashchat_core.tokens import device_hash
from ashchat_core.topology import Queue

ANSWER_SECONDS = 5.0
"""How long a person waits for another service's answer."""

REFUSALS = {
    "wrong_code": "the code is not right",
    "expired": "the code has expired or was used; ask for a new one",
    "too_many_tries": "the code was tried too often; ask for a new one",
}
SWEEP_AFTER = timedelta(seconds=15)
"""How old a mark is before the sweeper takes care of it: the request itself comes first."""

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Both tokens and whose they are."""

    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    user_id: str


class Store(Protocol):
    """Accounts and sessions; see `store.MongoStore`."""

    async def add_user(self, user: User, device: Device) -> User:
        """Store a user, marked as not yet announced. Raises EmailTaken."""

    async def user_by_email(self, key: str) -> User | None:
        """Return the account of an address."""

    async def user(self, user_id: str) -> User | None:
        """Return an account."""

    async def knows_device(self, user_id: str, device_hash: str) -> bool:
        """Tell whether this device of the account was confirmed."""

    async def add_device(self, user_id: str, device: Device, now: datetime) -> DeviceAdded:
        """Add a confirmed device, marked as not yet announced."""

    async def announced(self, user_id: str, since: datetime) -> None:
        """Take that mark off."""

    def unannounced(self, before: datetime) -> AsyncIterator[tuple[User, list[Device], datetime]]:
        """Yield the accounts with older marks, their devices, and the mark."""

    async def add_session(self, session: Session, *, life: timedelta) -> str:
        """Store a session; return its first refresh token."""

    async def session_of(self, refresh_token: str, now: datetime) -> Session | None:
        """Return the live session of a refresh token."""

    async def rotate(self, refresh_token: str, *, now: datetime, life: timedelta) -> str | None:
        """Exchange a refresh token for the next one; None: it is not good."""


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


class Limits(Protocol):
    """See `limiting.RedisLimits`. Each returns the seconds to wait, 0: go on."""

    async def sign_up(self, address: str) -> int:
        """Count a sign-up."""

    async def sign_in_wait(self, account: str, address: str) -> int:
        """Look, without counting."""

    async def sign_in_failed(self, account: str, address: str) -> None:
        """Count a wrong password."""

    async def code_mailed(self, account: str) -> int:
        """Count a code that is about to be mailed."""

    async def code_tried(self, account: str, address: str) -> int:
        """Count a try of a code."""


class Signer(Protocol):
    """See `keys.KeyRing`."""

    def access(self, *, user_id: str, session_id: str, device_hash: str, now: datetime) -> str:
        """Return an access token."""

    def temporary(self, *, user_id: str, challenge_id: str, device_hash: str, now: datetime) -> str:
        """Return a token that is good for one challenge."""

    def read_temporary(self, token: str) -> Mapping[str, Any] | None:
        """Return a temporary token's claims; None: not one of ours."""


class Accounts:
    """What people do with their accounts."""

    def __init__(
        self,
        *,
        store: Store,
        requests: Requests,
        passwords: Passwords,
        signer: Signer,
        limits: Limits,
        refresh_days: int,
    ) -> None:
        self._store = store
        self._requests = requests
        self._passwords = passwords
        self._signer = signer
        self._limits = limits
        self._refresh_life = timedelta(days=refresh_days)

    async def sign_up(
        self, *, name: str, email: str, password: str, language: str, address: str
    ) -> None:
        """Begin an account. The same for a free and a taken address: nobody learns which.

        Raises:
            APIError: 429 too_many_requests; 503.
        """
        wait = await self._limits.sign_up(address)
        if wait:
            raise _too_many(wait)
        # Hashed in either case: the time must not tell.
        hashed = await self._passwords.hash(password)
        owner = await self._store.user_by_email(email_key(email))
        sign_up_id = uuid4().hex
        await self._requests.tell(
            Queue.ACCOUNT_CREATION,
            AccountCreation(
                kind="address_taken" if owner else "sign_up",
                sign_up_id=sign_up_id,
                email=owner.email if owner else email.strip(),
                nickname=owner.name if owner else name,
                password_hash=None if owner else hashed,
                preferred_language=owner.preferred_language if owner else language,
                requested_at=datetime.now(UTC),
            ),
            message_id=sign_up_id,
        )

    async def confirm_email(self, *, email: str, code: str, device: Device, address: str) -> str:
        """Make the account when the code is right; return its id.

        Raises:
            APIError: 400 with email's refusal as reason; 409 email_taken; 429; 503.
        """
        wait = await self._limits.code_tried(email_key(email), address)
        if wait:
            raise _too_many(wait)
        request_id = uuid4().hex
        try:
            reply = await self._requests.ask(
                Queue.CONFIRM_EMAIL_CODE,
                ConfirmEmailCode(
                    kind="confirm",
                    request_id=request_id,
                    email=email.strip(),
                    code=code,
                    deadline=_deadline(),
                ),
                ConfirmEmailCodeReply,
                message_id=request_id,
            )
        except NoAnswer:
            raise Unavailable("the code could not be checked just now; try again") from None
        if reply.account is None:
            reason = reply.refusal or "expired"
            raise APIError(400, reason, REFUSALS[reason])
        user = await self._make(reply.account, device)
        # Without the broker the mark stays, and the sweeper announces.
        with suppress(BrokerUnavailable, PublishError):
            # Without an answer: the message is durable and the profile follows.
            with suppress(NoAnswer):
                await self._requests.ask(
                    Queue.CONFIRM_NEW_ACCOUNT,
                    _new_account(user, device),
                    AccountConfirmed,
                    message_id=f"account.{user.id}",
                )
            await self._store.announced(user.id, user.created_at)
        await self._settled(user)
        return user.id

    async def sign_in(
        self, *, email: str, password: str, device_token: str, address: str
    ) -> SignedIn:
        """Sign in on a device that is known.

        Raises:
            APIError: 401 wrong_credentials; 403 new_device, with a temporary token, and a
                code is mailed; 429; 503.
        """
        key = email_key(email)
        wait = await self._limits.sign_in_wait(key, address)
        if wait:
            raise _too_many(wait)
        user = await self._store.user_by_email(key)
        right = await self._passwords.verify(user.password_hash if user else None, password)
        if user is None or not right:
            await self._limits.sign_in_failed(key, address)
            raise APIError(401, "wrong_credentials", "the address or the password is not right")
        hashed = device_hash(device_token)
        if not await self._store.knows_device(user.id, hashed):
            raise await self._challenge(user, hashed)
        return await self._session(user.id, hashed)

    async def confirm_new_device(
        self, *, temporary: str, code: str, device: Device, address: str
    ) -> None:
        """Add a device to the account when its mailed code is right.

        Raises:
            APIError: 401 invalid_token; 403 wrong_device or email's refusal; 404; 429; 503.
        """
        claims = self._signer.read_temporary(temporary)
        if claims is None:
            raise APIError(401, "invalid_token", "sign in again to get a new code")
        if claims["dev"] != device.device_hash:
            raise APIError(403, "wrong_device", "this code is for another device")
        user_id = str(claims["sub"])
        wait = await self._limits.code_tried(user_id, address)
        if wait:
            raise _too_many(wait)
        request_id = uuid4().hex
        challenge_id = str(claims["challenge"])
        try:
            reply = await self._requests.ask(
                Queue.CONFIRM_NEW_DEVICE_REPLY,
                ConfirmNewDevice(
                    kind="confirm",
                    request_id=request_id,
                    challenge_id=challenge_id,
                    code=code,
                    deadline=_deadline(),
                ),
                ConfirmNewDeviceReply,
                message_id=request_id,
            )
        except NoAnswer:
            raise Unavailable("the code could not be checked just now; try again") from None
        if reply.refusal is not None:
            raise APIError(403, reply.refusal, REFUSALS[reply.refusal])
        now = _now()
        added = await self._store.add_device(user_id, device, now)
        if added is DeviceAdded.NO_ACCOUNT:
            raise APIError(404, "no_such_user", "this account does not exist any more")
        # What is not said now, the sweeper says; the challenge expires by itself.
        with suppress(BrokerUnavailable, PublishError):
            if added is not DeviceAdded.KNOWN:
                await self._requests.tell(
                    Queue.CHANGE_DEVICE_TOKEN,
                    _new_device(user_id, device),
                    message_id=f"device.{challenge_id}",
                )
            if added is DeviceAdded.MARKED:
                await self._store.announced(user_id, now)
            await self._requests.tell(
                Queue.CONFIRM_NEW_DEVICE_REPLY,
                ConfirmNewDevice(kind="settled", request_id=uuid4().hex, challenge_id=challenge_id),
                message_id=f"settled.{challenge_id}",
            )

    async def refresh(self, *, refresh_token: str, device_token: str) -> SignedIn:
        """Exchange a refresh token for new tokens.

        Raises:
            APIError: 401 device_mismatch or invalid_token; 403 wrong_token; 404; 503.
        """
        if refresh_token.count(".") != 1:
            raise APIError(403, "wrong_token", "this needs the refresh token")
        now = _now()
        session = await self._store.session_of(refresh_token, now)
        if session is None:
            raise APIError(401, "invalid_token", "the session is over; sign in again")
        hashed = device_hash(device_token)
        if hashed != session.device_hash:
            raise APIError(401, "device_mismatch", "this session belongs to another device")
        if await self._store.user(session.user_id) is None:
            raise APIError(404, "no_such_user", "this account does not exist any more")
        fresh = await self._store.rotate(refresh_token, now=now, life=self._refresh_life)
        if fresh is None:
            raise APIError(401, "invalid_token", "the session is over; sign in again")
        token = self._signer.access(
            user_id=session.user_id, session_id=session.id, device_hash=hashed, now=now
        )
        return SignedIn(token, fresh, session.user_id)

    async def sweep(self) -> int:
        """Announce what was stored but not confirmed by the broker; return how many."""
        count = 0
        async for user, devices, since in self._store.unannounced(_now() - SWEEP_AFTER):
            first, *others = devices
            # Both are idempotent at the other end: saying them again changes nothing.
            await self._requests.tell(
                Queue.CONFIRM_NEW_ACCOUNT,
                _new_account(user, first),
                message_id=f"account.{user.id}",
            )
            for device in others:
                await self._requests.tell(
                    Queue.CHANGE_DEVICE_TOKEN,
                    _new_device(user.id, device),
                    message_id=f"device.{user.id}.{device.device_hash}",
                )
            await self._store.announced(user.id, since)
            count += 1
        return count

    async def _make(self, account: PendingAccount, device: Device) -> User:
        user = User(
            id=account.sign_up_id,
            email=account.email,
            email_key=email_key(account.email),
            name=account.nickname,
            password_hash=account.password_hash,
            preferred_language=account.preferred_language,
            created_at=_now(),
        )
        try:
            return await self._store.add_user(user, device)
        except EmailTaken:
            raise APIError(409, "email_taken", "this address has an account: sign in") from None

    async def _settled(self, user: User) -> None:
        # Without it the pending account expires by itself.
        with suppress(BrokerUnavailable, PublishError):
            await self._requests.tell(
                Queue.CONFIRM_EMAIL_CODE,
                ConfirmEmailCode(
                    kind="settled", request_id=uuid4().hex, email=user.email, sign_up_id=user.id
                ),
                message_id=f"settled.{user.id}",
            )

    async def _challenge(self, user: User, hashed: str) -> APIError:
        wait = await self._limits.code_mailed(user.id)
        if wait:
            return _too_many(wait)
        challenge_id = uuid4().hex
        now = _now()
        await self._requests.tell(
            Queue.CONFIRM_NEW_DEVICE,
            NewDeviceCode(
                challenge_id=challenge_id,
                user_id=user.id,
                email=user.email,
                nickname=user.name,
                preferred_language=user.preferred_language,
                requested_at=now,
            ),
            message_id=challenge_id,
        )
        token = self._signer.temporary(
            user_id=user.id, challenge_id=challenge_id, device_hash=hashed, now=now
        )
        sentence = "this device is new: confirm it with the code that was mailed"
        return APIError(403, "new_device", sentence, data={"token": token, "info": sentence})

    async def _session(self, user_id: str, hashed: str) -> SignedIn:
        now = _now()
        session = Session(
            id=uuid4().hex, user_id=user_id, device_hash=hashed, created_at=now, used_at=now
        )
        refresh_token = await self._store.add_session(session, life=self._refresh_life)
        token = self._signer.access(
            user_id=user_id, session_id=session.id, device_hash=hashed, now=now
        )
        return SignedIn(token, refresh_token, user_id)


def _now() -> datetime:
    # MongoDB keeps milliseconds; a mark is compared with what it gave back.
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _deadline() -> datetime:
    """Return until when an answer is waited for."""
    return datetime.now(UTC) + timedelta(seconds=ANSWER_SECONDS)


def _too_many(seconds: int) -> APIError:
    return APIError(
        429,
        "too_many_requests",
        f"too many tries; wait {seconds} seconds",
        headers={"Retry-After": str(seconds)},
    )


def _new_account(user: User, device: Device) -> ConfirmNewAccount:
    return ConfirmNewAccount(
        user_id=user.id,
        nickname=user.name,
        preferred_language=user.preferred_language,
        device_token_hash=device.device_hash,
        notification_token=device.notification_token,
    )


def _new_device(user_id: str, device: Device) -> ChangeDeviceToken:
    return ChangeDeviceToken(
        user_id=user_id,
        device_token_hash=device.device_hash,
        notification_token=device.notification_token,
    )
