"""Sign-up: a code goes to the address, its owner brings it back, the account is made."""

from contextlib import suppress
from datetime import UTC, datetime

from ashchat_auth.models import Device, Due, EmailTaken, NoAnswer, User, email_key
from ashchat_auth.service.common import ask, deadline, new_id, now, quietly, refused, unless
from ashchat_auth.service.events import event
from ashchat_auth.service.outbox import Outbox
from ashchat_auth.service.password_rules import PasswordRules
from ashchat_auth.service.ports import Limits, Passwords, Requests, Store
from ashchat_core.errors import APIError, BrokerUnavailable, PublishError
from ashchat_core.messages import (
    AccountConfirmed,
    AccountCreation,
    ConfirmEmailCode,
    ConfirmEmailCodeReply,
    ConfirmNewAccount,
    PendingAccount,
)
from ashchat_core.topology import Queue


class SignUp:
    """From an address to an account."""

    def __init__(
        self,
        *,
        store: Store,
        requests: Requests,
        passwords: Passwords,
        rules: PasswordRules,
        limits: Limits,
        outbox: Outbox,
    ) -> None:
        self._store = store
        self._requests = requests
        self._passwords = passwords
        self._rules = rules
        self._limits = limits
        self._outbox = outbox

    async def begin(
        self, *, name: str, email: str, password: str, language: str, address: str
    ) -> None:
        """Begin an account. The same for a free and a taken address: nobody learns which.

        Asked again it mails a new code, after a wait that grows.

        Raises:
            APIError: 422 password_too_common, password_too_personal; 429 too_many_requests;
                503.
        """
        self._rules.check(password, email, name)
        unless(await self._limits.sign_up(address))
        unless(await self._limits.mail("sign-up", email_key(email), address))
        sign_up_id = new_id()
        try:
            # Hashed in either case: the time must not tell.
            hashed = await self._passwords.hash(password)
            owner = await self._store.user_by_email(email_key(email))
            creation = AccountCreation(
                kind="address_taken" if owner else "sign_up",
                sign_up_id=sign_up_id,
                email=owner.email if owner else email.strip(),
                nickname=owner.name if owner else name,
                password_hash=None if owner else hashed,
                preferred_language=owner.preferred_language if owner else language,
                requested_at=datetime.now(UTC),
            )
            await self._requests.tell(Queue.ACCOUNT_CREATION, creation, message_id=sign_up_id)
        except Exception:  # whatever is away: no mail was asked for, so the next try need not wait
            await quietly(self._limits.no_mail("sign-up", email_key(email), address))
            raise

    async def confirm(self, *, email: str, code: str, device: Device, address: str) -> str:
        """Make the account when the code is right; return its id.

        Raises:
            APIError: 400 with email's refusal as reason; 409 email_taken; 429; 503.
        """
        unless(await self._limits.code_tried(email_key(email), address))
        request_id = new_id()
        reply = await ask(
            self._requests,
            Queue.CONFIRM_EMAIL_CODE,
            ConfirmEmailCode(
                kind="confirm",
                request_id=request_id,
                email=email.strip(),
                code=code,
                deadline=deadline(),
            ),
            ConfirmEmailCodeReply,
            request_id,
        )
        if reply.account is None:
            raise refused(400, reply.refusal or "expired")
        user = await self._make(reply.account, device, address)
        await self._announce(user)
        await self._settled(user)
        return user.id

    async def _make(self, account: PendingAccount, device: Device, address: str) -> User:
        moment = now()
        about = ConfirmNewAccount(
            user_id=account.sign_up_id,
            nickname=account.nickname,
            preferred_language=account.preferred_language,
            device_token_hash=device.device_hash,
            notification_token=device.notification_token,
        )
        due = Due.telling(
            Queue.CONFIRM_NEW_ACCOUNT,
            about,
            id=f"account.{account.sign_up_id}",
            at=moment,
            event=event(
                account.sign_up_id,
                "account_made",
                id=f"account.{account.sign_up_id}",
                at=moment,
                address=address,
                device_os=device.os,
            ),
        )
        user = User(
            id=account.sign_up_id,
            email=account.email,
            email_key=email_key(account.email),
            name=account.nickname,
            password_hash=account.password_hash,
            preferred_language=account.preferred_language,
            created_at=moment,
            devices=(device,),
            due=(due,),
        )
        try:
            return await self._store.add_user(user)
        except EmailTaken:
            raise APIError(409, "email_taken", "this address has an account: sign in") from None

    async def _announce(self, user: User) -> None:
        """Have chat make the profile, and wait for it a moment; it follows in any case."""
        for due in user.due:
            if due.queue is not Queue.CONFIRM_NEW_ACCOUNT or due.body is None:
                continue
            about = ConfirmNewAccount.model_validate_json(due.body)
            # Without the broker it stays due, and the sweeper announces.
            with suppress(BrokerUnavailable, PublishError):
                # Without an answer: the message is durable and the profile follows.
                with suppress(NoAnswer):
                    await self._requests.ask(
                        Queue.CONFIRM_NEW_ACCOUNT, about, AccountConfirmed, message_id=due.id
                    )
                await self._outbox.settle(
                    user.id, [due.model_copy(update={"queue": None, "body": None})]
                )

    async def _settled(self, user: User) -> None:
        # Without it the pending account expires by itself.
        settled = ConfirmEmailCode(
            kind="settled", request_id=new_id(), email=user.email, sign_up_id=user.id
        )
        await quietly(
            self._requests.tell(Queue.CONFIRM_EMAIL_CODE, settled, message_id=f"settled.{user.id}")
        )
