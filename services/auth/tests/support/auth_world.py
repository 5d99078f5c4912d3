"""Auth's flows on stores and queues in memory, for unit tests."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import pyotp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ashchat_auth.limits import AuthLimits
from ashchat_auth.models import (
    Caller,
    Device,
    Due,
    EmailTakenError,
    NoAnswerError,
    RecoveryCode,
    Reset,
    RevokedSession,
    SecurityEvent,
    Session,
    Temporary,
    TokenReusedError,
    User,
)
from ashchat_auth.service import Lifetimes, build
from ashchat_auth.service.outbox import SWEEP_AFTER
from ashchat_auth.service.ports import Asker, Changes, Ends, M, Ports, Signer, Where
from ashchat_auth.service.resealing import COUNTED_MAX, PAGE_ACCOUNTS, Part
from ashchat_auth.service.sessions import SignedIn
from ashchat_auth.service.sign_in import DeviceProof
from ashchat_auth.settings import Settings
from ashchat_auth.store.base import DELETED_AT_ONCE
from ashchat_auth.store.sessions import LISTED_MAX
from ashchat_auth.vault import Vault
from ashchat_core.admission.counters import Counters, MemoryCounters
from ashchat_core.admission.gate import Admission
from ashchat_core.errors import APIError, BrokerUnavailableError
from ashchat_core.messages import (
    SESSION_IDS_MAX,
    AccountConfirmed,
    ConfirmChangeEmailReply,
    ConfirmChangePasswordReply,
    ConfirmEmailCodeReply,
    ConfirmNewDeviceReply,
    Message,
    PendingAccount,
)
from ashchat_core.tokens import AccessToken, InvalidTokenError, device_hash
from ashchat_core.topology import Queue

PHONE = Device(device_hash=device_hash("phone"), os="ANDROID", notification_token="n")
TABLET = Device(device_hash=device_hash("tablet"), os="IOS")
LAPTOP = Device(device_hash=device_hash("laptop"))
PASSWORD = "correct horse"
OTHER_PASSWORD = "battery staple"
EMAIL = "ana@example.org"
HERE = "192.0.2.1"
PENDING = PendingAccount(
    sign_up_id="s1",
    email="Ana@example.org",
    nickname="Ana",
    password_hash=f"hash:{PASSWORD}",
    preferred_language="es",
)


T = TypeVar("T")


class LostError(Exception):
    """The store is away."""


@dataclass
class Chain:
    """A session and its refresh tokens."""

    session: Session
    expires_at: datetime
    good: str
    spent: list[str] = field(default_factory=list)
    revoked_at: datetime | None = None
    reused_from: str | None = None


class MemoryStore:
    """What MongoStore promises, in memory; `fails` names methods that raise."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.chains: dict[str, Chain] = {}
        self.events: dict[str, SecurityEvent] = {}
        self.fails: set[str] = set()
        self.largest_page = 0
        """The most documents that one call has returned or deleted."""
        self.read = 0
        """Accounts that were read because of their sealed secrets."""

    def _may(self, method: str) -> None:
        if method in self.fails:
            raise LostError(method)

    async def add_user(self, user: User) -> User:
        before = self.users.get(user.id)
        if before is not None:
            return before
        if any(other.email_key == user.email_key for other in self.users.values()):
            raise EmailTakenError
        self.users[user.id] = user
        return user

    async def user_by_email(self, key: str) -> User | None:
        self._may("user_by_email")
        return next((user for user in self._living() if user.email_key == key), None)

    async def user(self, user_id: str) -> User | None:
        return next((user for user in self._living() if user.id == user_id), None)

    async def change(
        self,
        user_id: str,
        changes: Changes,
        *,
        where: Where | None = None,
        ends: Ends = "nothing",
        due: Sequence[Due] = (),
    ) -> bool:
        self._may("change")
        user = await self.user(user_id)
        if user is None:
            return False
        for path, value in (where or {}).items():
            found: Any = user
            for name in path.split("."):
                found = getattr(found, name, None)
            if found != value:
                return False
        key = changes.get("email_key")
        if any(x.email_key == key and x.id != user_id for x in self.users.values()):
            raise EmailTakenError
        epochs = {
            "epoch": user.epoch + (ends == "sessions"),
            "challenge_epoch": user.challenge_epoch + (ends != "nothing"),
        }
        self._put(user, {**changes, **epochs}, *due)
        return True

    async def accept_step(self, user_id: str, step: int) -> bool:
        user = await self.user(user_id)
        if user is None or user.two_factor is None or user.two_factor.last_step >= step:
            return False
        self._put(user, {"two_factor": user.two_factor.model_copy(update={"last_step": step})})
        return True

    async def renew_recovery(
        self, user_id: str, epoch: int, codes: Sequence[RecoveryCode], due: Due
    ) -> bool:
        user = await self.user(user_id)
        if user is None or user.two_factor is None or user.epoch != epoch:
            return False
        fresh = user.two_factor.model_copy(update={"recovery": tuple(codes)})
        self._put(user, {"two_factor": fresh, "challenge_epoch": user.challenge_epoch + 1}, due)
        return True

    async def use_recovery(self, user_id: str, hashes: Sequence[str], due: Due) -> bool:
        user = await self.user(user_id)
        if user is None or user.two_factor is None:
            return False
        left = tuple(code for code in user.two_factor.recovery if code.hash not in hashes)
        if len(left) == len(user.two_factor.recovery):
            return False
        self._put(user, {"two_factor": user.two_factor.model_copy(update={"recovery": left})}, due)
        return True

    async def reseal(self, user_id: str, part: Part, before: str, after: str) -> None:
        self._may("reseal")
        user = await self.user(user_id)
        found = getattr(user, part, None)
        if user and found and found.secret == before:
            self._put(user, {part: found.model_copy(update={"secret": after})})

    async def sealed_page(self, part: Part, version: str, after: str) -> list[User]:
        found = self._sealed(part, version)
        page = [found[secret] for secret in sorted(found) if secret > after][:PAGE_ACCOUNTS]
        self.read += len(page)
        return self._page(page)

    async def count_sealed(self, part: Part, version: str) -> int:
        return min(COUNTED_MAX, len(self._sealed(part, version)))

    def _sealed(self, part: Part, version: str) -> dict[str, User]:
        parts = {getattr(user, part).secret: user for user in self._living() if getattr(user, part)}
        return {key: user for key, user in parts.items() if key.startswith(f"{version}.")}

    async def remove_due(self, user_id: str, due_id: str) -> None:
        user = self.users.get(user_id)
        if user is not None:
            left = tuple(due for due in user.due if due.id != due_id)
            self.users[user_id] = user.model_copy(update={"due": left})

    async def overdue(self, before: datetime) -> AsyncIterator[User]:
        for user in list(self.users.values()):
            gone = user.deleting_since is not None and user.deleting_since < before
            if gone or any(due.at < before for due in user.due):
                yield user

    async def delete_user(self, user_id: str) -> bool:
        self._may("delete_user")
        user = self.users.get(user_id)
        if user is None or user.deleting_since is None or user.due:
            return False
        del self.users[user_id]
        return True

    async def next_sign_in(self, user_id: str) -> int:
        user = self.users[user_id]
        self.users[user_id] = user.model_copy(update={"sign_ins": user.sign_ins + 1})
        return user.sign_ins + 1

    async def add_session(self, session: Session, *, expires_at: datetime) -> str:
        self.chains[session.id] = Chain(session, expires_at, "0")
        return f"{session.id}.0"

    async def session(self, session_id: str, now: datetime) -> Session | None:
        chain = self.chains.get(session_id)
        if chain is None or chain.revoked_at is not None or chain.expires_at <= now:
            return None
        return chain.session

    async def sessions_of(self, user_id: str, now: datetime) -> list[Session]:
        found = [await self.session(session_id, now) for session_id in self.chains]
        mine = [session for session in found if session and session.user_id == user_id]
        mine.sort(key=lambda session: session.used_at, reverse=True)
        return self._page(mine[:LISTED_MAX])

    async def rotate(
        self, refresh_token: str, *, now: datetime, expires_at: datetime, address: str
    ) -> str | None:
        session_id, _, secret = refresh_token.partition(".")
        chain = self.chains.get(session_id)
        if chain is None or chain.revoked_at is not None:
            return None
        if secret in chain.spent:
            chain.revoked_at, chain.reused_from = now, address
            raise TokenReusedError
        if secret != chain.good:
            return None
        chain.spent.append(secret)
        chain.good, chain.expires_at = str(int(secret) + 1), expires_at
        chain.session = chain.session.model_copy(update={"used_at": now})
        return f"{session_id}.{chain.good}"

    async def set_session_epoch(self, session_id: str, epoch: int) -> None:
        chain = self.chains[session_id]
        chain.session = chain.session.model_copy(update={"epoch": epoch})

    async def revoke(self, user_id: str, now: datetime, *, only: str | None = None) -> int:
        self._may("revoke")
        count = 0
        for session_id, chain in self.chains.items():
            session = chain.session
            if session.user_id != user_id or chain.revoked_at is not None:
                continue
            if only in {None, session_id}:
                chain.revoked_at = now
                count += 1
        return count

    async def end_replaced(self, session: Session, now: datetime) -> int:
        self._may("end_replaced")
        live = [
            chain
            for chain in self.chains.values()
            if chain.revoked_at is None
            and chain.session.user_id == session.user_id
            and chain.session.device_hash == session.device_hash
        ]
        newest = max((chain.session.sign_in for chain in live), default=session.sign_in)
        ended = [
            chain
            for chain in live
            if chain.session.sign_in < session.sign_in
            or (chain.session.id == session.id and session.sign_in < newest)
        ]
        for chain in ended:
            chain.revoked_at = now
        return len(ended)

    async def revoked_of(self, user_id: str) -> list[RevokedSession]:
        found = [
            RevokedSession(
                id=session_id,
                user_id=user_id,
                revoked_at=chain.revoked_at,
                reused_from=chain.reused_from,
            )
            for session_id, chain in self.chains.items()
            if chain.session.user_id == user_id and chain.revoked_at is not None
        ]
        return self._page(found[:SESSION_IDS_MAX])

    async def revoked_before(self, before: datetime) -> AsyncIterator[str]:
        marked = [x for x in self.chains.values() if x.revoked_at and x.revoked_at < before]
        for user_id in {chain.session.user_id for chain in marked}:
            yield user_id

    async def delete_sessions(self, session_ids: Sequence[str]) -> None:
        for session_id in session_ids:
            self.chains.pop(session_id, None)

    async def delete_ended(
        self, user_id: str, *, below: int | None = None, but: str | None = None
    ) -> bool:
        self._may("delete_ended")
        ended = [
            session_id
            for session_id, chain in self.chains.items()
            if chain.session.user_id == user_id
            and session_id != but
            and (below is None or (chain.session.epoch < below and chain.reused_from is None))
        ]
        page = self._page(ended[:DELETED_AT_ONCE])
        await self.delete_sessions(page)
        return len(page) < DELETED_AT_ONCE

    async def store_event(self, event: SecurityEvent) -> None:
        self._may("store_event")
        self.events.setdefault(event.id, event)

    async def count_event(self, event: SecurityEvent) -> None:
        self._may("count_event")
        before = self.events.get(event.id)
        count = before.count + 1 if before else 1
        self.events[event.id] = event.model_copy(update={"count": count})

    async def events_of(
        self, user_id: str, *, before: datetime | None, limit: int
    ) -> list[SecurityEvent]:
        found = [
            event
            for event in self.events.values()
            if event.user_id == user_id and (before is None or event.at < before)
        ]
        return sorted(found, key=lambda event: event.at, reverse=True)[:limit]

    async def delete_events(self, user_id: str) -> bool:
        found = [key for key, event in self.events.items() if event.user_id == user_id]
        page = self._page(found[:DELETED_AT_ONCE])
        for key in page:
            del self.events[key]
        return len(page) < DELETED_AT_ONCE

    def age(self) -> None:
        """Let what is due, marked or begun be old enough for the sweeper."""
        for user in self.users.values():
            due = tuple(x.model_copy(update={"at": x.at - SWEEP_AFTER * 2}) for x in user.due)
            since = user.deleting_since and user.deleting_since - SWEEP_AFTER * 2
            self.users[user.id] = user.model_copy(update={"due": due, "deleting_since": since})
        for chain in self.chains.values():
            chain.revoked_at = chain.revoked_at and chain.revoked_at - SWEEP_AFTER * 2

    def kinds(self) -> list[str]:
        """Return the kinds of all events, in order."""
        return [event.kind for event in self.events.values()]

    def _page(self, found: list[T]) -> list[T]:
        self.largest_page = max(self.largest_page, len(found))
        return found

    def _living(self) -> list[User]:
        return [user for user in self.users.values() if user.deleting_since is None]

    def _put(self, user: User, changes: Mapping[str, Any], *due: Due) -> None:
        update = {**changes, "due": (*user.due, *due)}
        self.users[user.id] = user.model_copy(update=update)


class Queues:
    """Records what was published; answers as configured."""

    def __init__(self) -> None:
        self.sent: list[tuple[Queue, Any]] = []
        self.answers: dict[Queue, Message | None] = {
            Queue.CONFIRM_EMAIL_CODE: ConfirmEmailCodeReply(request_id="r", account=PENDING),
            Queue.CONFIRM_NEW_ACCOUNT: AccountConfirmed(user_id="s1", tag_user_id="ana_1"),
            Queue.CONFIRM_NEW_DEVICE_REPLY: ConfirmNewDeviceReply(request_id="r"),
            Queue.CONFIRM_CHANGE_PASSWORD: ConfirmChangePasswordReply(request_id="r"),
            Queue.CONFIRM_CHANGE_EMAIL: ConfirmChangeEmailReply(
                request_id="r", new_email="ana@new.example"
            ),
        }
        self.away: set[Queue] = set()
        self.ids: list[str] = []

    async def publish(self, queue: Queue, body: Message, *, message_id: str) -> None:
        assert message_id
        if queue in self.away:
            raise BrokerUnavailableError("x")
        self.sent.append((queue, body))
        self.ids.append(message_id)

    async def ask(self, queue: Queue, body: Message, answer: type[M], *, message_id: str) -> M:
        await self.publish(queue, body, message_id=message_id)
        found = self.answers.get(queue)
        if not isinstance(found, answer):
            raise NoAnswerError
        return found

    def names(self) -> list[Queue]:
        return [queue for queue, _ in self.sent]

    def of(self, queue: Queue) -> list[Any]:
        return [body for name, body in self.sent if name is queue]


class PlainPasswords:
    """Counts instead of computing."""

    def __init__(self) -> None:
        self.computed = 0

    async def hash(self, password: str, asker: Asker) -> str:
        assert asker.address
        self.computed += 1
        return f"hash:{password}"

    async def verify(self, hashed: str | None, password: str, asker: Asker) -> bool:
        assert asker.address
        self.computed += 1
        return hashed in {f"hash:{password}", f"old:{password}"}

    def outdated(self, hashed: str) -> bool:
        return hashed.startswith("old:")


class Clock:
    """The time, as the limits see it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


class MemoryResets:
    """Resets in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Reset] = {}

    async def put(self, reset_id: str, reset: Reset) -> None:
        self.kept[reset_id] = reset

    async def get(self, reset_id: str) -> Reset | None:
        return self.kept.get(reset_id)

    async def drop(self, reset_id: str) -> None:
        del self.kept[reset_id]


class Tokens:
    """Tokens are names of what they say."""

    def __init__(self) -> None:
        self.temporaries: dict[str, Temporary] = {}
        self.issued: dict[str, AccessToken] = {}

    def access(
        self, *, user_id: str, session_id: str, epoch: int, device_hash: str, now: datetime
    ) -> str:
        token = f"access{len(self.issued)}"
        self.issued[token] = AccessToken(
            user_id=user_id,
            session_id=session_id,
            epoch=epoch,
            device_hash=device_hash,
            expires_at=now,
        )
        return token

    def socket_ticket(
        self, *, user_id: str, session_id: str, epoch: int, until: datetime, now: datetime
    ) -> str:
        assert until
        assert now
        return f"ticket of {user_id} {session_id} {epoch}"

    def read_access(self, token: str) -> AccessToken:
        if token == "expired":
            raise InvalidTokenError("expired", "x")
        if token not in self.issued:
            raise InvalidTokenError("malformed", "x")
        return self.issued[token]

    def temporary(self, says: Temporary, now: datetime) -> str:
        assert now
        token = f"temporary{len(self.temporaries)}"
        self.temporaries[token] = says
        return token

    def read_temporary(self, token: str) -> Temporary | None:
        return self.temporaries.get(token)


def add_signing_key(folder: Path, kid: str) -> None:
    """Add a signing key to a folder and make it the active one."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{kid}.pem").write_bytes(pem)
    (folder / "active").write_text(kid)


def make_ring(folder: Path, version: str = "1") -> None:
    """Add a key to a ring and make it the active one."""
    folder.mkdir(exist_ok=True)
    (folder / f"{version}.key").write_text(token_hex(32))
    (folder / "active").write_text(version)


class World:
    """All of it, and Ana in it."""

    def __init__(
        self, ring: Path, signer: Signer | None = None, counters: Counters | None = None
    ) -> None:
        self.store, self.queues = MemoryStore(), Queues()
        self.buckets, self.clock = MemoryCounters(), Clock()
        admission = Admission(counters or self.buckets, clock=self.clock.time)
        self.limits = AuthLimits(admission, Settings(_env_file=None))
        self.passwords, self.tokens, self.resets = PlainPasswords(), Tokens(), MemoryResets()
        self.ring = ring
        make_ring(ring)
        self.ports = Ports(
            store=self.store,
            requests=self.queues,
            passwords=self.passwords,
            common_passwords=frozenset({"password1"}),
            signer=signer or self.tokens,
            limits=self.limits,
            resets=self.resets,
            vault=Vault(ring),
        )
        self.auth = build(
            self.ports,
            lifetimes=Lifetimes(refresh=timedelta(days=30), session=timedelta(days=180)),
            issuer="AshChat",
        )

    def exhaust(self, limit: str, *subject: str, seconds: int = 42) -> None:
        """Leave no room in a bucket for some seconds."""
        bucket = self.limits._bucket(limit, *subject)
        full_at = self.clock.now + bucket.rate.refill_seconds + seconds - bucket.charge_seconds
        self.buckets._put(bucket.key, full_at)

    def charged(self, limit: str, *subject: str) -> float:
        """Return how much was taken from a bucket."""
        bucket = self.limits._bucket(limit, *subject)
        seconds = self.buckets._full_at.get(bucket.key, self.clock.now) - self.clock.now
        return round(seconds / bucket.charge_seconds, 3)

    @property
    def ana(self) -> User:
        return self.store.users["s1"]

    async def make(self, *devices: Device) -> None:
        """Put Ana's account into the store, as sign-up leaves it."""
        await self.store.add_user(
            User(
                id="s1",
                email=EMAIL,
                email_key=EMAIL,
                name="Ana",
                password_hash=f"hash:{PASSWORD}",
                preferred_language="es",
                created_at=datetime.now(UTC),
                devices=devices or (PHONE,),
            )
        )

    async def sign_up(self, email: str = EMAIL, password: str = PASSWORD) -> str:
        return await self.auth.sign_up.begin(
            name="Ana", email=email, password=password, language="es", address=HERE
        )

    async def confirm(self, device: Device = PHONE, temporary: str | None = None) -> str:
        return await self.auth.sign_up.confirm(
            email=EMAIL, code="123456", temporary=temporary, device=device, address=HERE
        )

    async def sign_in(self, password: str = PASSWORD, device: str = "phone") -> SignedIn:
        return await self.auth.sign_in.begin(
            email="ANA@example.org", password=password, device_token=device, address=HERE
        )

    def add_device(self, name: str) -> None:
        """Confirm a device."""
        device = Device(device_hash=device_hash(name))
        if not self.ana.device(device.device_hash):
            devices = (*self.ana.devices, device)
            self.store.users["s1"] = self.ana.model_copy(update={"devices": devices})

    async def sign_in_on(self, *names: str) -> list[SignedIn]:
        """Sign in on several devices, which are confirmed already."""
        for name in names:
            self.add_device(name)
        return [await self.sign_in(device=name) for name in names]

    async def challenge(self, device: str = "tablet") -> APIError:
        """Sign in on a new device; return what it is asked for."""
        try:
            await self.sign_in(device=device)
        except APIError as error:
            return error
        raise AssertionError("the device is known")

    async def confirm_device(
        self,
        token: str,
        device: Device = TABLET,
        *,
        code: str | None = "123456",
        recovery: str | None = None,
    ) -> None:
        await self.auth.sign_in.confirm_new_device(
            temporary=token,
            proof=DeviceProof(device.device_hash, code, recovery),
            device=device,
            address=HERE,
        )

    async def caller(self, signed_in: SignedIn | None = None, device: str = "phone") -> Caller:
        """Return Ana, signed in."""
        found = signed_in or await self.sign_in(device=device)
        return await self.auth.sessions.caller(token=found.token, device_token=device, address=HERE)

    async def with_two_factor(self) -> tuple[Caller, str, list[str]]:
        """Make Ana's account with two-factor; return the caller, the secret, the codes."""
        await self.confirm()
        signed_in = await self.sign_in()
        caller = await self.caller(signed_in)
        begun = await self.auth.two_factor.enrol(caller, password=PASSWORD)
        caller = await self.caller(signed_in)
        codes = await self.auth.two_factor.confirm(caller, code=totp(begun.secret))
        return await self.caller(signed_in), begun.secret, codes


def totp(secret: str, steps: int = 0) -> str:
    """Return the code of now, or of some time steps later."""
    return pyotp.TOTP(secret).at(datetime.now(UTC), counter_offset=steps)


async def refused(call: Any) -> tuple[int, str]:
    """Return the status and reason with which a call is refused."""
    try:
        await call
    except APIError as error:
        return error.status, error.reason
    raise AssertionError("it was not refused")
