"""Sign-up: a code is mailed to the address; with it the account is created."""

from contextlib import suppress
from datetime import UTC, datetime

from ashchat_auth.models import (
    Device,
    Due,
    EmailTakenError,
    NoAnswerError,
    Purpose,
    Temporary,
    User,
)
from ashchat_auth.service.common import (
    ask,
    deadline,
    new_id,
    now,
    quietly,
    raise_if_limited,
    refused,
)
from ashchat_auth.service.events import event
from ashchat_auth.service.outbox import Outbox
from ashchat_auth.service.password_rules import PasswordRules
from ashchat_auth.service.ports import Asker, Ports
from ashchat_core.errors import APIError, BrokerUnavailableError, PublishError
from ashchat_core.messages import (
    AccountConfirmed,
    AccountCreation,
    ConfirmEmailCode,
    ConfirmEmailCodeReply,
    ConfirmNewAccount,
    PendingAccount,
)
from ashchat_core.text import address_key
from ashchat_core.topology import Queue


class SignUp:
    """Creates an account for a confirmed address."""

    def __init__(
        self,
        ports: Ports,
        *,
        rules: PasswordRules,
        outbox: Outbox,
    ) -> None:
        self._store = ports.store
        self._requests = ports.requests
        self._passwords = ports.passwords
        self._rules = rules
        self._signer = ports.signer
        self._limits = ports.limits
        self._outbox = outbox

    async def begin(
        self, *, name: str, email: str, password: str, language: str, address: str
    ) -> str:
        """Begin a sign-up: mail a code, or a notice to the owner of a taken address.

        The caller cannot tell the two cases apart. A repeated call mails a new code, after a
        growing wait.

        Returns:
            The temporary token that belongs to this sign-up.

        Raises:
            APIError: 422 password_too_common, password_too_personal; 429 too_many_requests;
                503.
        """
        self._rules.check(password, email, name)
        raise_if_limited(await self._limits.mail("sign-up", address_key(email), address))
        sign_up_id = new_id()
        try:
            # Hashed in either case: the response time must not reveal a taken address.
            hashed = await self._passwords.hash(password, Asker(address))
            owner = await self._store.user_by_email(address_key(email))
            creation = AccountCreation(
                kind="address_taken" if owner else "sign_up",
                sign_up_id=sign_up_id,
                email=owner.email if owner else email.strip(),
                nickname=owner.name if owner else name,
                password_hash=None if owner else hashed,
                preferred_language=owner.preferred_language if owner else language,
                requested_at=datetime.now(UTC),
            )
            await self._requests.publish(Queue.ACCOUNT_CREATION, creation, message_id=sign_up_id)
        except Exception:  # no mail was requested, so the next attempt need not wait
            await quietly(self._limits.uncount_mail("sign-up", address_key(email), address))
            raise
        claims = Temporary(purpose=Purpose.SIGN_UP, subject=sign_up_id, challenge_id=sign_up_id)
        return self._signer.temporary(claims, now())

    async def confirm(
        self, *, email: str, code: str, temporary: str | None, device: Device, address: str
    ) -> str:
        """Create the account if the code is right; return its id.

        Args:
            email: The address.
            code: The mailed code.
            temporary: The sign-up's token; with it no other sign-up is confirmed. None, as the
                original's clients send it: the newest sign-up of the address is.
            device: The account's first device.
            address: The client's network address.

        Raises:
            APIError: 400 with the email service's refusal as reason; 409 email_taken; 429; 503.
        """
        sign_up_id = None if temporary is None else self._sign_up_of(temporary)
        tried = sign_up_id or address_key(email)
        raise_if_limited(await self._limits.code_tried(tried, address))
        request_id = new_id()
        reply = await ask(
            self._requests,
            Queue.CONFIRM_EMAIL_CODE,
            ConfirmEmailCode(
                kind="confirm",
                request_id=request_id,
                email=email.strip(),
                sign_up_id=sign_up_id,
                code=code,
                deadline=deadline(),
            ),
            ConfirmEmailCodeReply,
            request_id,
        )
        if reply.account is None:
            raise refused(400, reply.refusal or "expired")
        await self._limits.code_right(tried, address)
        user = await self._create(reply.account, device, address)
        await self._settled(user)
        return user.id

    def _sign_up_of(self, temporary: str) -> str:
        claims = self._signer.read_temporary(temporary)
        if claims is None or claims.purpose is not Purpose.SIGN_UP:
            raise refused(400, "expired")
        return claims.challenge_id

    async def _create(self, account: PendingAccount, device: Device, address: str) -> User:
        moment = now()
        message = ConfirmNewAccount(
            user_id=account.sign_up_id,
            nickname=account.nickname,
            preferred_language=account.preferred_language,
            device_token_hash=device.device_hash,
            notification_token=device.notification_token,
        )
        due = Due.for_message(
            Queue.CONFIRM_NEW_ACCOUNT,
            message,
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
            email_key=address_key(account.email),
            name=account.nickname,
            password_hash=account.password_hash,
            preferred_language=account.preferred_language,
            created_at=moment,
            devices=(device,),
            due=(due,),
        )
        try:
            stored = await self._store.add_user(user)
        except EmailTakenError:
            raise APIError(
                409, "email_taken", "This address already has an account: sign in."
            ) from None
        if due in stored.due:
            await self._announce(stored, due, message)
        else:  # an earlier request created the account, and may have stopped halfway
            await self._outbox.settle(stored.id, stored.due)
        return stored

    async def _announce(self, user: User, due: Due, message: ConfirmNewAccount) -> None:
        """Have chat create the profile, and wait a moment for it; it follows in any case."""
        # If the broker is unavailable, the message stays due, and the sweeper publishes it.
        with suppress(BrokerUnavailableError, PublishError):
            # No answer in time: the message is durable, and the profile follows.
            with suppress(NoAnswerError):
                await self._requests.ask(
                    Queue.CONFIRM_NEW_ACCOUNT, message, AccountConfirmed, message_id=due.id
                )
            await self._outbox.settle(user.id, [due.without_message()])

    async def _settled(self, user: User) -> None:
        # If this is lost, the pending account expires by itself.
        settled = ConfirmEmailCode(
            kind="settled", request_id=new_id(), email=user.email, sign_up_id=user.id
        )
        await quietly(
            self._requests.publish(
                Queue.CONFIRM_EMAIL_CODE, settled, message_id=f"settled.{user.id}"
            )
        )
