"""The rules of email: who gets which mail, and which code is right. No I/O library here."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Protocol

from ashchat_core.messages import (
    AccountCreation,
    CodeRefusal,
    ConfirmEmailCode,
    ConfirmEmailCodeReply,
    ConfirmNewDevice,
    ConfirmNewDeviceReply,
    NewDeviceCode,
    PendingAccount,
)
from ashchat_email.codes import LIFETIME_SECONDS, CodeKeys, mail_key
from ashchat_email.mails import Mail, compose


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a code."""

    refusal: CodeRefusal | None
    payload: str | None


class Pending(Protocol):
    """Pending sign-ups and device challenges; see `store.RedisPending`."""

    async def put(self, key: str, *, subject: str, digest: str, payload: str, at: float) -> bool:
        """Keep a pending item for 600 s; False: a newer one is there."""

    async def check(self, key: str, *, request_id: str, digests: tuple[str, ...]) -> Checked:
        """Check a code by its possible digests; the same request gets the same answer again."""

    async def drop(self, key: str, subject: str) -> None:
        """Forget a pending item that was used."""

    async def was_sent(self, message_id: str) -> bool:
        """Tell whether the server took this mail before."""

    async def sent(self, message_id: str) -> None:
        """Remember that the server took this mail."""


class Sender(Protocol):
    """Hands a mail to the server; see `smtp.Mailer.send`."""

    async def send(self, message: EmailMessage) -> None:
        """Return after the server has taken it."""


class EmailService:
    """Pending sign-ups, device challenges, and their codes."""

    def __init__(
        self, store: Pending, sender: Sender, keys: CodeKeys, *, from_: str, product: str
    ) -> None:
        self._store = store
        self._sender = sender
        self._keys = keys
        self._from = from_
        self._product = product
        self._unrecorded: set[str] = set()
        """Mails that the server took and Redis does not know of yet."""

    async def account_creation(self, request: AccountCreation) -> None:
        """Keep the pending account and mail its code, or tell the owner of a taken address."""
        code = None
        if request.kind == "sign_up":
            if not self._alive(request.requested_at):
                return  # nobody can use a code of a sign-up that is over
            key = f"signup:{mail_key(request.email)}"
            code = self._keys.code("sign-up", request.sign_up_id)
            account = PendingAccount(
                sign_up_id=request.sign_up_id,
                email=request.email,
                nickname=request.nickname,
                password_hash=request.password_hash or "",
                preferred_language=request.preferred_language,
            )
            newest = await self._store.put(
                key,
                subject=request.sign_up_id,
                digest=self._keys.digest("sign-up", key, code),
                payload=account.model_dump_json(),
                at=request.requested_at.timestamp(),
            )
            if not newest:
                return
        await self._mail(
            Mail(
                kind=request.kind,
                to=request.email,
                name=request.nickname,
                language=request.preferred_language,
                code=code,
                message_id=f"{request.kind}.{request.sign_up_id}",
                at=request.requested_at,
            )
        )

    async def confirm_code(self, request: ConfirmEmailCode) -> ConfirmEmailCodeReply | None:
        """Answer whether a code is right; None when nobody waits for an answer."""
        key = f"signup:{mail_key(request.email)}"
        if request.kind == "settled":
            if request.sign_up_id:
                await self._store.drop(key, request.sign_up_id)
            return None
        if _over(request.deadline):
            return None
        checked = await self._store.check(
            key,
            request_id=request.request_id,
            digests=self._keys.digests("sign-up", key, request.code or ""),
        )
        account = PendingAccount.model_validate_json(checked.payload) if checked.payload else None
        return ConfirmEmailCodeReply(
            request_id=request.request_id, account=account, refusal=checked.refusal
        )

    async def new_device(self, request: NewDeviceCode) -> None:
        """Keep a challenge and mail its code."""
        if not self._alive(request.requested_at):
            return
        key = f"device:{request.challenge_id}"
        code = self._keys.code("device", request.challenge_id)
        await self._store.put(
            key,
            subject=request.challenge_id,
            digest=self._keys.digest("device", key, code),
            payload=request.user_id,
            at=request.requested_at.timestamp(),
        )
        await self._mail(
            Mail(
                kind="new_device",
                to=request.email,
                name=request.nickname,
                language=request.preferred_language,
                code=code,
                message_id=f"device.{request.challenge_id}",
                at=request.requested_at,
            )
        )

    async def confirm_device(self, request: ConfirmNewDevice) -> ConfirmNewDeviceReply | None:
        """Answer whether a device's code is right; None when nobody waits."""
        key = f"device:{request.challenge_id}"
        if request.kind == "settled":
            await self._store.drop(key, request.challenge_id)
            return None
        if _over(request.deadline):
            return None
        checked = await self._store.check(
            key,
            request_id=request.request_id,
            digests=self._keys.digests("device", key, request.code or ""),
        )
        return ConfirmNewDeviceReply(request_id=request.request_id, refusal=checked.refusal)

    async def _mail(self, mail: Mail) -> None:
        if mail.message_id not in self._unrecorded:
            if await self._store.was_sent(mail.message_id):
                return
            await self._sender.send(
                compose(
                    mail,
                    sender=self._from,
                    product=self._product,
                    minutes=LIFETIME_SECONDS // 60,
                )
            )
            # Dying right here mails once more: the same code under the same Message-ID.
            self._unrecorded.add(mail.message_id)
        # Redis may be away just now; then the message is held, and only this is done again.
        await self._store.sent(mail.message_id)
        self._unrecorded.discard(mail.message_id)

    @staticmethod
    def _alive(requested_at: datetime) -> bool:
        return (datetime.now(UTC) - requested_at).total_seconds() < LIFETIME_SECONDS


def _over(deadline: datetime | None) -> bool:
    return deadline is not None and datetime.now(UTC) > deadline
