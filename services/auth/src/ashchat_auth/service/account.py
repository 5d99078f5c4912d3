"""An account's settings: name and language, address, deletion."""

from datetime import UTC, datetime

from ashchat_auth.models import (
    Caller,
    Due,
    EmailChange,
    EmailTakenError,
)
from ashchat_auth.service.common import (
    ask,
    changed_meanwhile,
    deadline,
    new_id,
    now,
    quietly,
    raise_if_limited,
    refused,
)
from ashchat_auth.service.events import Events, event, notice
from ashchat_auth.service.outbox import Outbox, all_sessions_end
from ashchat_auth.service.passwords import PasswordCheck
from ashchat_auth.service.ports import Changes, Ports
from ashchat_auth.service.second_factor import Factor, SecondFactor
from ashchat_core.errors import APIError
from ashchat_core.messages import (
    AccountDeletion,
    ChangeEmail,
    ConfirmChangeEmail,
    ConfirmChangeEmailReply,
    ProfileChanged,
)
from ashchat_core.text import address_key
from ashchat_core.topology import Queue


class AccountSettings:
    """Changes a signed-in user makes to the account."""

    def __init__(
        self,
        ports: Ports,
        *,
        password_check: PasswordCheck,
        second_factor: SecondFactor,
        outbox: Outbox,
        events: Events,
    ) -> None:
        self._store = ports.store
        self._requests = ports.requests
        self._limits = ports.limits
        self._password_check = password_check
        self._second_factor = second_factor
        self._outbox = outbox
        self._events = events

    async def change_profile(
        self, caller: Caller, *, name: str | None, language: str | None
    ) -> None:
        """Change name or preferred language, or both, and notify chat.

        Raises:
            APIError: 409 changed_meanwhile; 429; 503.
        """
        raise_if_limited(await self._limits.profile_changed(caller.user.id))
        moment = now()
        changes: Changes = {}
        if name is not None:
            changes["name"] = name
        if language is not None:
            changes["preferred_language"] = language
        due = Due.for_message(
            Queue.PROFILE_CHANGED,
            ProfileChanged(
                user_id=caller.user.id, nickname=name, preferred_language=language, at=moment
            ),
            id=f"profile.{new_id()}",
            at=moment,
        )
        if not await self._store.change(caller.user.id, changes, due=[due]):
            raise changed_meanwhile()
        await self._outbox.settle(caller.user.id, [due])

    async def begin_email_change(self, caller: Caller, *, new_email: str, password: str) -> None:
        """Mail one code to the old and one to the new address, also if the new one is taken.

        Raises:
            APIError: 403 wrong_password; 409 same_email, changed_meanwhile; 429; 503.
        """
        user = caller.user
        await self._password_check.check(caller, password)
        if address_key(new_email) == user.email_key:
            raise APIError(409, "same_email", "This already is the account's address.")
        raise_if_limited(await self._limits.code_mailed(user.id))
        taken = await self._store.user_by_email(address_key(new_email)) is not None
        change = EmailChange(
            id=new_id(), new_email=new_email.strip(), at=now(), epoch=user.challenge_epoch
        )
        if not await self._store.change(
            user.id,
            {"email_change": change},
            where={"challenge_epoch": user.challenge_epoch},
        ):
            raise changed_meanwhile()
        await self._requests.publish(
            Queue.CHANGE_EMAIL,
            ChangeEmail(
                kind="address_taken" if taken else "change",
                change_id=change.id,
                old_email=user.email,
                new_email=change.new_email,
                nickname=user.name,
                preferred_language=user.preferred_language,
                requested_at=datetime.now(UTC),
            ),
            message_id=change.id,
        )
        await self._events.record(event(user.id, "email_change_requested", address=caller.address))

    async def finish_email_change(self, caller: Caller, *, old_code: str, new_code: str) -> None:
        """Change the address if both codes are right, and notify the old address.

        Raises:
            APIError: 400 with the email service's refusal as reason; 409 no_email_change,
                email_taken, changed_meanwhile; 429; 503.
        """
        user = caller.user
        raise_if_limited(await self._limits.code_tried(user.id, caller.address))
        change = user.email_change
        if change is None or change.epoch != user.challenge_epoch:
            raise APIError(409, "no_email_change", "Begin with POST /api/user/email.")
        request_id = new_id()
        reply = await ask(
            self._requests,
            Queue.CONFIRM_CHANGE_EMAIL,
            ConfirmChangeEmail(
                kind="confirm",
                request_id=request_id,
                change_id=change.id,
                old_code=old_code,
                new_code=new_code,
                deadline=deadline(),
            ),
            ConfirmChangeEmailReply,
            request_id,
        )
        if reply.new_email is None:
            raise refused(400, reply.refusal or "expired")
        await self._limits.code_right(user.id, caller.address)
        moment = now()
        event_id = new_id()
        due = Due.for_message(
            Queue.SECURITY_NOTICE,
            # `user` was read before the change, so the notice goes to the old address.
            notice(user, "email_changed", id=event_id, at=moment),
            id=event_id,
            at=moment,
            event=event(user.id, "email_changed", id=event_id, at=moment, address=caller.address),
        )
        changes: Changes = {
            "email": change.new_email,
            "email_key": address_key(change.new_email),
            "email_change": None,
        }
        try:
            changed = await self._store.change(
                user.id,
                changes,
                where={"challenge_epoch": change.epoch, "email_change.id": change.id},
                ends="challenges",
                due=[due],
            )
        except EmailTakenError:
            raise APIError(409, "email_taken", "Another account has this address by now.") from None
        if not changed:
            raise changed_meanwhile()
        await self._outbox.settle(user.id, [due])
        settled = ConfirmChangeEmail(kind="settled", request_id=new_id(), change_id=change.id)
        await quietly(
            self._requests.publish(
                Queue.CONFIRM_CHANGE_EMAIL, settled, message_id=f"settled.{change.id}"
            )
        )

    async def delete(self, caller: Caller, *, password: str, factor: Factor) -> None:
        """Delete the account here and, through queues, in the other services.

        After the first write, sign-ins fail. The rest is done at once, or by the sweeper after
        a crash or an outage.

        Raises:
            APIError: 400 wrong_code, wrong_recovery_code; 403 wrong_password,
                two_factor_required; 409 changed_meanwhile; 429; 503.
        """
        user = caller.user
        await self._password_check.check(caller, password)
        await self._second_factor.check(user, factor, address=caller.address)
        moment = now()
        about = AccountDeletion(user_id=user.id, at=moment)
        notice_id = f"deleted.{user.id}"
        dues = [
            *all_sessions_end(user, at=moment),
            Due.for_message(
                Queue.ACCOUNT_DELETION_CHAT, about, id=f"deletion.chat.{user.id}", at=moment
            ),
            Due.for_message(
                Queue.ACCOUNT_DELETION_STATIC, about, id=f"deletion.static.{user.id}", at=moment
            ),
            Due.for_message(
                Queue.SECURITY_NOTICE,
                notice(user, "account_deleted", id=notice_id, at=moment),
                id=notice_id,
                at=moment,
            ),
        ]
        if not await self._store.change(
            user.id,
            {"deleting_since": moment},
            where={"epoch": user.epoch},
            ends="sessions",
            due=dues,
        ):
            raise changed_meanwhile()
        await self._outbox.settle(user.id, [*user.due, *dues])
        await quietly(self._outbox.finish_deletion(user.id))
