"""Rules of the email service: which mail is sent to whom, and whether a code is right. No I/O."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol

from ashchat_core.clocks import CLOCK_SKEW_SECONDS
from ashchat_core.messages import (
    AccountCreation,
    ChangeEmail,
    ChangePassword,
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
from ashchat_email.limits import MailLimits
from ashchat_email.mails import Kind, Mail, compose
from ashchat_email.ports import (
    Checked,
    MailError,
    Pending,
    PermanentFailureError,
    Sender,
    TemporaryFailureError,
)

NO_CODE: Final = ""
"""Stored instead of a digest if no code may be right: a digest is never empty."""

Codes = Mapping[Purpose, str | None]
"""The code of each purpose."""


class Addressed(Protocol):
    """A request to mail a code or a notice to one address."""

    @property
    def email(self) -> str:
        """The address."""

    @property
    def nickname(self) -> str:
        """The name that the mail greets."""

    @property
    def preferred_language(self) -> str:
        """The mail's language."""

    @property
    def requested_at(self) -> datetime:
        """When the mail was requested."""


class Confirmation(Protocol):
    """A request to check codes, or the message that their item was used."""

    @property
    def kind(self) -> Literal["confirm", "settled"]:
        """Whether codes are to be checked, or their item was used."""

    @property
    def request_id(self) -> str:
        """Identifies the request; a repeated one gets the same answer."""

    @property
    def deadline(self) -> datetime | None:
        """When the caller stops waiting for the answer."""


class EmailService:
    """Pending sign-ups, devices, resets and address changes with their codes, and notices.

    Every method that sends mail may raise a MailError. The same message delivered again continues
    where it stopped.
    """

    def __init__(
        self,
        store: Pending,
        sender: Sender,
        keys: CodeKeys,
        limits: MailLimits,
        *,
        from_: str,
        product: str,
    ) -> None:
        self._store = store
        self._limits = limits
        self._sender = sender
        self._keys = keys
        self._from = from_
        self._product = product
        self._unrecorded: set[str] = set()
        """Mails that the server accepted and that Redis does not have yet."""

    async def account_creation(self, request: AccountCreation) -> None:
        """Store the pending account and mail its code, or notify the owner of a taken address.

        It is stored twice: for the client that has the sign-up's token, and as the newest of its
        address for clients without one. Attempts of the latter do not count against the former.
        For a taken address everything is the same, except that no code is right.

        Raises:
            MailError: the mail was not sent.
        """
        taken = request.kind == "address_taken"
        code = None if taken else self._keys.code("sign-up", request.sign_up_id)
        account = PendingAccount(
            sign_up_id=request.sign_up_id,
            email=request.email,
            nickname=request.nickname,
            password_hash=request.password_hash or "",
            preferred_language=request.preferred_language,
        )
        kept = [
            await self._put(
                key,
                request.sign_up_id,
                {"sign-up": code},
                payload="" if taken else account.model_dump_json(),
                requested_at=request.requested_at,
            )
            for key in (_newest_of(request.email), _own(request.sign_up_id))
        ]
        # A newer sign-up, perhaps a stranger's, takes the code from nobody who has a token.
        if kept[-1]:
            message_id = f"{request.kind}.{request.sign_up_id}"
            await self._mail(_mail(request, request.kind, message_id, code))

    async def confirm_code(self, request: ConfirmEmailCode) -> ConfirmEmailCodeReply | None:
        """Check a sign-up's code; None if the caller does not wait for an answer."""
        own = _own(request.sign_up_id) if request.sign_up_id else None
        newest = _newest_of(request.email)
        codes: Codes = {"sign-up": request.code}
        if request.kind == "settled":
            await self._confirm(newest, request.sign_up_id, request, codes)
        checked = await self._confirm(own or newest, request.sign_up_id, request, codes)
        if checked is None:
            return None
        account = PendingAccount.model_validate_json(checked.payload) if checked.payload else None
        return ConfirmEmailCodeReply(
            request_id=request.request_id, account=account, refusal=checked.refusal
        )

    async def new_device(self, request: NewDeviceCode) -> None:
        """Store a challenge and mail its code.

        Raises:
            MailError: the mail was not sent.
        """
        code = self._keys.code("device", request.challenge_id)
        if await self._put(
            f"device:{request.challenge_id}",
            request.challenge_id,
            {"device": code},
            payload=request.user_id,
            requested_at=request.requested_at,
        ):
            await self._mail(_mail(request, "new_device", f"device.{request.challenge_id}", code))

    async def confirm_device(self, request: ConfirmNewDevice) -> ConfirmNewDeviceReply | None:
        """Check a device's code; None if the caller does not wait for an answer."""
        subject = request.challenge_id
        codes: Codes = {"device": request.code}
        checked = await self._confirm(f"device:{subject}", subject, request, codes)
        if checked is None:
            return None
        return ConfirmNewDeviceReply(request_id=request.request_id, refusal=checked.refusal)

    async def change_password(self, request: ChangePassword) -> None:
        """Store a reset and mail its code; do nothing for an address without an account.

        Raises:
            MailError: the mail was not sent.
        """
        if request.kind == "no_account":
            return
        code = self._keys.code("reset", request.reset_id)
        if await self._put(
            f"reset:{request.reset_id}",
            request.reset_id,
            {"reset": code},
            payload="",
            requested_at=request.requested_at,
        ):
            await self._mail(_mail(request, "reset", f"reset.{request.reset_id}", code))

    async def confirm_password(
        self, request: ConfirmChangePassword
    ) -> ConfirmChangePasswordReply | None:
        """Check a reset's code; None if the caller does not wait for an answer."""
        subject = request.reset_id
        codes: Codes = {"reset": request.code}
        checked = await self._confirm(f"reset:{subject}", subject, request, codes)
        if checked is None:
            return None
        return ConfirmChangePasswordReply(request_id=request.request_id, refusal=checked.refusal)

    async def change_email(self, request: ChangeEmail) -> None:
        """Store an address change and mail a code to each of the two addresses.

        If the new address has an account, its owner gets a notice instead of a code, and no
        code confirms the change. Everything else is the same, so that the requester cannot
        tell the difference.

        Raises:
            MailError: a mail was not sent.
        """
        old_code = self._keys.code("email-old", request.change_id)
        taken = request.kind == "address_taken"
        new_code = None if taken else self._keys.code("email-new", request.change_id)
        if not await self._put(
            f"change:{request.change_id}",
            request.change_id,
            {"email-old": old_code, "email-new": new_code},
            payload=request.new_email,
            requested_at=request.requested_at,
        ):
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
                # The owner of a taken address is another user, with another name.
                name="" if taken else request.nickname,
                language=request.preferred_language,
                code=new_code,
                message_id=f"change_new.{request.change_id}",
                at=request.requested_at,
            ),
        )

    async def confirm_email(self, request: ConfirmChangeEmail) -> ConfirmChangeEmailReply | None:
        """Check both codes of an address change; None if the caller does not wait."""
        subject = request.change_id
        codes: Codes = {"email-old": request.old_code, "email-new": request.new_code}
        checked = await self._confirm(f"change:{subject}", subject, request, codes)
        if checked is None:
            return None
        return ConfirmChangeEmailReply(
            request_id=request.request_id, new_email=checked.payload, refusal=checked.refusal
        )

    async def security_notice(self, request: SecurityNotice) -> None:
        """Mail a notice to an account's owner, however old the event is.

        Raises:
            MailError: the mail was not sent.
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

    async def _put(
        self, key: str, subject: str, codes: Codes, *, payload: str, requested_at: datetime
    ) -> bool:
        """Store a pending item; False if its code has expired, was used or was superseded.

        Args:
            key: Where it is stored.
            subject: Identifies the item among those under the key.
            codes: The code of each purpose; None: no code is right.
            payload: Returned with a right code.
            requested_at: When the codes were requested.
        """
        if (datetime.now(UTC) - requested_at).total_seconds() >= LIFETIME_SECONDS:
            return False
        return await self._store.put(
            key,
            subject=subject,
            digests=[
                NO_CODE if code is None else self._keys.digest(purpose, key, code)
                for purpose, code in codes.items()
            ],
            payload=payload,
            at=requested_at.timestamp(),
        )

    async def _confirm(
        self, key: str, subject: str | None, request: Confirmation, codes: Codes
    ) -> Checked | None:
        """Check codes, or settle the item that was used.

        Returns:
            The result; None if the caller does not wait for it.
        """
        if request.kind == "settled":
            if subject:
                await self._store.settle(key, subject)
            return None
        # A late answer is discarded by the caller; a deadline of another clock may seem passed.
        late = datetime.now(UTC) - timedelta(seconds=CLOCK_SKEW_SECONDS)
        if request.deadline is not None and late > request.deadline:
            return None
        return await self._store.check(
            key,
            request_id=request.request_id,
            digests=[
                self._keys.digests(purpose, key, code or "") for purpose, code in codes.items()
            ],
        )

    async def _mail(self, *mails: Mail) -> None:
        """Send each mail, so that greylisting of one address does not delay the other.

        All of them are needed, so a permanent failure outweighs a temporary one.
        """
        later: TemporaryFailureError | None = None
        never: PermanentFailureError | None = None
        for mail in mails:
            try:
                await self._mail_once(mail)
            except TemporaryFailureError as error:
                later = error
            except PermanentFailureError as error:
                never = error
        failure = never or later
        if failure is not None:
            raise failure

    async def _mail_once(self, mail: Mail) -> None:
        if mail.message_id not in self._unrecorded:
            if await self._store.was_sent(mail.message_id):
                return
            if not await self._limits.take(mail.to):
                return
            message = compose(
                mail, sender=self._from, product=self._product, minutes=LIFETIME_SECONDS // 60
            )
            try:
                await self._sender.send(message)
            except MailError:
                await self._limits.give_back(mail.to)
                raise
            # A crash at this point sends the mail again: same code, same Message-ID.
            self._unrecorded.add(mail.message_id)
        # If Redis is unavailable, the message is held, and only this step is repeated.
        await self._store.sent(mail.message_id)
        self._unrecorded.discard(mail.message_id)


def _own(sign_up_id: str) -> str:
    """Return the key of a sign-up for the client that began it."""
    return f"own-signup:{sign_up_id}"


def _newest_of(email: str) -> str:
    """Return the key of the newest sign-up of an address."""
    return f"signup:{mail_key(email)}"


def _mail(request: Addressed, kind: Kind, message_id: str, code: str | None) -> Mail:
    return Mail(
        kind=kind,
        to=request.email,
        name=request.nickname,
        language=request.preferred_language,
        code=code,
        message_id=message_id,
        at=request.requested_at,
    )
