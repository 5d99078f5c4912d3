"""The rules of email: who gets which mail, and which code is right. No I/O library here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Literal, Protocol

from ashchat_core.messages import (
    AccountCreation,
    ChangeEmail,
    ChangePassword,
    CodeRefusal,
    ConfirmChangeEmail,
    ConfirmChangeEmailReply,
    ConfirmChangePassword,
    ConfirmChangePasswordReply,
    ConfirmEmailCode,
    ConfirmEmailCodeReply,
    ConfirmNewDevice,
    ConfirmNewDeviceReply,
    NewDeviceCode,
    PendingAccount,
    SecurityNotice,
)
from ashchat_email.codes import LIFETIME_SECONDS, CodeKeys, Purpose, mail_key
from ashchat_email.mails import Mail, compose

NO_CODE = ""
"""Kept in a digest's place where no code may ever be right: no digest is empty."""

DeadReason = Literal["mailbox", "content", "policy", "unsendable"]
"""Why a mail will never go out: the mailbox does not exist, what it says or who sends it is
not wanted, or its address cannot be said to this server."""


class ServerAway(Exception):
    """The server is unreachable, busy or refuses us: it is not this mail's fault."""


class TemporaryFailure(Exception):
    """The server does not take this mail now (4yz): greylisting, a full mailbox."""


class PermanentFailure(Exception):
    """The server will never take this mail (5yz): no such mailbox."""

    def __init__(self, message: str, reason: DeadReason) -> None:
        super().__init__(message)
        self.reason: DeadReason = reason


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a code."""

    refusal: CodeRefusal | None
    payload: str | None


class Pending(Protocol):
    """What waits for its code; see `store.RedisPending`."""

    async def put(
        self, key: str, *, subject: str, digests: Sequence[str], payload: str, at: float
    ) -> bool:
        """Keep a pending item for 600 s; False: a newer one is there, or it was used."""

    async def check(
        self, key: str, *, request_id: str, digests: Sequence[Sequence[str]]
    ) -> Checked:
        """Check codes by their possible digests; the same request gets the same answer again."""

    async def drop(self, key: str, subject: str) -> None:
        """Forget a pending item that was used; the same one is not kept again."""

    async def was_sent(self, message_id: str) -> bool:
        """Tell whether the server took this mail before."""

    async def sent(self, message_id: str) -> None:
        """Remember that the server took this mail."""


class Sender(Protocol):
    """Hands a mail to the server; see `smtp.Mailer.send`."""

    async def send(self, message: EmailMessage) -> None:
        """Return after the server has taken it.

        Raises:
            ServerAway, TemporaryFailure, PermanentFailure: see there.
        """


class EmailService:
    """Pending sign-ups, devices, resets and address changes, their codes, and notices.

    Whatever mails may raise ServerAway, TemporaryFailure or PermanentFailure; the same
    message again then goes on where it was.
    """

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
        """Keep the pending account and mail its code, or tell the owner of a taken address.

        Raises:
            ServerAway, TemporaryFailure, PermanentFailure: the mail did not go out.
        """
        code = None
        if request.kind == "sign_up":
            if not _alive(request.requested_at):
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
                digests=(self._keys.digest("sign-up", key, code),),
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
        """Answer whether a sign-up's code is right; None when nobody waits for an answer."""
        key = f"signup:{mail_key(request.email)}"
        if request.kind == "settled":
            if request.sign_up_id:
                await self._store.drop(key, request.sign_up_id)
            return None
        if _over(request.deadline):
            return None
        checked = await self._check(key, request.request_id, ("sign-up", request.code))
        account = PendingAccount.model_validate_json(checked.payload) if checked.payload else None
        return ConfirmEmailCodeReply(
            request_id=request.request_id, account=account, refusal=checked.refusal
        )

    async def new_device(self, request: NewDeviceCode) -> None:
        """Keep a challenge and mail its code.

        Raises:
            ServerAway, TemporaryFailure, PermanentFailure: the mail did not go out.
        """
        if not _alive(request.requested_at):
            return
        key = f"device:{request.challenge_id}"
        code = self._keys.code("device", request.challenge_id)
        kept = await self._store.put(
            key,
            subject=request.challenge_id,
            digests=(self._keys.digest("device", key, code),),
            payload=request.user_id,
            at=request.requested_at.timestamp(),
        )
        if not kept:
            return
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
        checked = await self._check(key, request.request_id, ("device", request.code))
        return ConfirmNewDeviceReply(request_id=request.request_id, refusal=checked.refusal)

    async def change_password(self, request: ChangePassword) -> None:
        """Keep a reset and mail its code; nothing for an address that nobody has.

        Raises:
            ServerAway, TemporaryFailure, PermanentFailure: the mail did not go out.
        """
        if request.kind == "no_account" or not _alive(request.requested_at):
            return
        key = f"reset:{request.reset_id}"
        code = self._keys.code("reset", request.reset_id)
        kept = await self._store.put(
            key,
            subject=request.reset_id,
            digests=(self._keys.digest("reset", key, code),),
            payload="",
            at=request.requested_at.timestamp(),
        )
        if not kept:
            return
        await self._mail(
            Mail(
                kind="reset",
                to=request.email,
                name=request.nickname,
                language=request.preferred_language,
                code=code,
                message_id=f"reset.{request.reset_id}",
                at=request.requested_at,
            )
        )

    async def confirm_password(
        self, request: ConfirmChangePassword
    ) -> ConfirmChangePasswordReply | None:
        """Answer whether a reset's code is right; None when nobody waits."""
        key = f"reset:{request.reset_id}"
        if request.kind == "settled":
            await self._store.drop(key, request.reset_id)
            return None
        if _over(request.deadline):
            return None
        checked = await self._check(key, request.request_id, ("reset", request.code))
        return ConfirmChangePasswordReply(request_id=request.request_id, refusal=checked.refusal)

    async def change_email(self, request: ChangeEmail) -> None:
        """Keep an address change and mail a code to each end.

        Where the new address has an account, its owner is told instead of given a code,
        and no code confirms the change; all else is the same, so nobody learns of it.

        Raises:
            ServerAway, TemporaryFailure, PermanentFailure: a mail did not go out.
        """
        if not _alive(request.requested_at):
            return
        key = f"change:{request.change_id}"
        old_code = self._keys.code("email-old", request.change_id)
        new_code = self._keys.code("email-new", request.change_id)
        taken = request.kind == "address_taken"
        kept = await self._store.put(
            key,
            subject=request.change_id,
            digests=(
                self._keys.digest("email-old", key, old_code),
                NO_CODE if taken else self._keys.digest("email-new", key, new_code),
            ),
            payload=request.new_email,
            at=request.requested_at.timestamp(),
        )
        if not kept:
            return
        await self._mail(
            Mail(
                kind="change_old",
                to=request.old_email,
                name=request.nickname,
                language=request.preferred_language,
                code=old_code,
                message_id=f"change_old.{request.change_id}",
                at=request.requested_at,
                address=request.new_email,
            ),
            Mail(
                kind="change_taken" if taken else "change_new",
                to=request.new_email,
                # The owner of a taken address is somebody else, whose name is not this one.
                name="" if taken else request.nickname,
                language=request.preferred_language,
                code=None if taken else new_code,
                message_id=f"change_new.{request.change_id}",
                at=request.requested_at,
            ),
        )

    async def confirm_email(self, request: ConfirmChangeEmail) -> ConfirmChangeEmailReply | None:
        """Answer whether both codes of an address change are right; None when nobody waits."""
        key = f"change:{request.change_id}"
        if request.kind == "settled":
            await self._store.drop(key, request.change_id)
            return None
        if _over(request.deadline):
            return None
        checked = await self._check(
            key,
            request.request_id,
            ("email-old", request.old_code),
            ("email-new", request.new_code),
        )
        return ConfirmChangeEmailReply(
            request_id=request.request_id, new_email=checked.payload, refusal=checked.refusal
        )

    async def security_notice(self, request: SecurityNotice) -> None:
        """Tell an owner what happened. Late is better than never, so no age is too great.

        Raises:
            ServerAway, TemporaryFailure, PermanentFailure: the mail did not go out.
        """
        await self._mail(
            Mail(
                kind=request.event,
                to=request.email,
                name=request.nickname,
                language=request.preferred_language,
                code=None,
                message_id=f"notice.{request.notice_id}",
                at=request.at,
            )
        )

    async def _check(
        self, key: str, request_id: str, *codes: tuple[Purpose, str | None]
    ) -> Checked:
        return await self._store.check(
            key,
            request_id=request_id,
            digests=[self._keys.digests(purpose, key, code or "") for purpose, code in codes],
        )

    async def _mail(self, *mails: Mail) -> None:
        """Mail each, so that greylisting at one end does not hold up the other.

        All are needed, so a permanent refusal of one decides over a temporary one of another.
        """
        later: TemporaryFailure | None = None
        never: PermanentFailure | None = None
        for mail in mails:
            try:
                await self._mail_once(mail)
            except TemporaryFailure as error:
                later = error
            except PermanentFailure as error:
                never = error
        failure = never or later
        if failure is not None:
            raise failure

    async def _mail_once(self, mail: Mail) -> None:
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


def _alive(requested_at: datetime) -> bool:
    return (datetime.now(UTC) - requested_at).total_seconds() < LIFETIME_SECONDS


def _over(deadline: datetime | None) -> bool:
    return deadline is not None and datetime.now(UTC) > deadline
