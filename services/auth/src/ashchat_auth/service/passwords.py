"""Sets a new password, with a mailed code or with the old password.

A reset does not reveal whether an address has an account: the response, its time and the token
are the same, and the token names a random reset instead of an account. For the same reason
every later rejection is `wrong_code`: the email service's own reasons would reveal whether a
code was sent.
"""

import asyncio
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from ashchat_auth.models import (
    Caller,
    Due,
    Purpose,
    Reset,
    SecurityEvent,
    Temporary,
    User,
)
from ashchat_auth.service.common import (
    ask,
    changed_meanwhile,
    deadline,
    new_id,
    no_such_user,
    now,
    quietly,
    raise_if_limited,
)
from ashchat_auth.service.events import Events, event, notice
from ashchat_auth.service.outbox import Outbox, all_sessions_end
from ashchat_auth.service.password_rules import PasswordRules
from ashchat_auth.service.ports import Asker, Limits, Passwords, Ports
from ashchat_auth.service.second_factor import Factor, SecondFactor
from ashchat_core.errors import APIError, UnavailableError
from ashchat_core.messages import (
    ChangePassword,
    ConfirmChangePassword,
    ConfirmChangePasswordReply,
    SecurityEventKind,
)
from ashchat_core.text import address_key
from ashchat_core.topology import Queue

NOBODY: Final = "nobody"
"""Nickname in the message about an unknown address; the email service drops that message."""

ASKED_SECONDS: Final = 0.05
"""How long a request for a reset takes at least.

Reading an account takes a millisecond longer than finding none, and in no other flow is so little
else done. The end of a longer wait is the same for both.
"""


class PasswordCheck:
    """Compares passwords, and limits wrong ones."""

    def __init__(self, passwords: Passwords, limits: Limits) -> None:
        self._passwords = passwords
        self._limits = limits

    async def compare(
        self, hashed: str | None, password: str, asker: Asker, *, key: str, device: str | None
    ) -> bool:
        """Return whether a password is right; None as hash (no such account) takes as long.

        It is charged before it is compared, so concurrent attempts gain nothing, and returned if
        it was right.

        Args:
            hashed: The account's hash.
            password: The password.
            asker: Whose it is.
            key: The key of the address that was entered.
            device: The confirmed device's hash; None for an unknown device.

        Raises:
            APIError: 429; 503.
        """
        raise_if_limited(await self._limits.password_tried(key, asker.address, device))
        try:
            right = await self._passwords.verify(hashed, password, asker)
        except UnavailableError:
            await self._limits.password_right(key, asker.address, device)
            raise
        if right:
            await self._limits.password_right(key, asker.address, device)
        return right

    async def check(self, caller: Caller, password: str) -> None:
        """Check the password of a signed-in user again.

        Raises:
            APIError: 403 wrong_password; 429; 503.
        """
        user = caller.user
        if not await self.compare(
            user.password_hash,
            password,
            Asker(caller.address, user.id),
            key=user.email_key,
            device=caller.session.device_hash,
        ):
            raise APIError(403, "wrong_password", "The password is not right.")


class PasswordChange:
    """Resets and changes passwords; both end the account's sessions."""

    def __init__(
        self,
        ports: Ports,
        *,
        password_check: PasswordCheck,
        rules: PasswordRules,
        second_factor: SecondFactor,
        outbox: Outbox,
        events: Events,
    ) -> None:
        self._store = ports.store
        self._requests = ports.requests
        self._passwords = ports.passwords
        self._password_check = password_check
        self._rules = rules
        self._signer = ports.signer
        self._limits = ports.limits
        self._resets = ports.resets
        self._second_factor = second_factor
        self._outbox = outbox
        self._events = events

    async def ask(self, *, email: str, address: str) -> str:
        """Mail a code for a new password; return the temporary token that belongs to it.

        Raises:
            APIError: 429; 503.
        """
        ends = monotonic() + ASKED_SECONDS
        key = address_key(email)
        raise_if_limited(await self._limits.mail("reset", key, address))
        reset_id = new_id()
        try:
            user = await self._store.user_by_email(key)
            kept = (
                Reset(user_id=user.id, epoch=user.challenge_epoch)
                if user
                else Reset(user_id="", epoch=0)
            )
            await self._resets.put(reset_id, kept)
            wanted = ChangePassword(
                kind="reset" if user else "no_account",
                reset_id=reset_id,
                email=user.email if user else email.strip(),
                nickname=user.name if user else NOBODY,
                preferred_language=user.preferred_language if user else "en",
                requested_at=datetime.now(UTC),
            )
            await self._requests.publish(Queue.CHANGE_PASSWORD, wanted, message_id=reset_id)
        except Exception:  # no mail was requested, so the next attempt need not wait
            await quietly(self._limits.uncount_mail("reset", key, address))
            raise
        if user is not None:
            self._events.count(event(user.id, "reset_requested", address=address))
        claims = Temporary(purpose=Purpose.RESET, subject=reset_id, challenge_id=reset_id)
        await asyncio.sleep(ends - monotonic())
        return self._signer.temporary(claims, now())

    async def reset(
        self, *, temporary: str, code: str, new_password: str, factor: Factor, address: str
    ) -> None:
        """Set a new password with the mailed code; this ends all sessions.

        Raises:
            APIError: 400 wrong_code, wrong_recovery_code; 401 invalid_token;
                403 two_factor_required; 404; 422 password_too_common,
                password_too_personal; 429; 503.
        """
        claims = self._signer.read_temporary(temporary)
        if claims is None or claims.purpose is not Purpose.RESET:
            raise APIError(401, "invalid_token", "Request a new code.")
        self._rules.check_common(new_password, field="newPassword")
        reset_id = claims.challenge_id
        raise_if_limited(await self._limits.code_tried(reset_id, address))
        kept = await self._resets.get(reset_id)
        await self._check_mailed(reset_id, code)
        await self._limits.code_right(reset_id, address)
        if kept is None or not kept.user_id:
            raise _wrong_code()
        user = await self._store.user(kept.user_id)
        if user is None:
            raise no_such_user()
        if user.challenge_epoch != kept.epoch:
            raise _wrong_code()
        self._rules.check(new_password, user.email, user.name, field="newPassword")
        if user.two_factor is not None and factor:
            raise_if_limited(await self._limits.challenge_tried(reset_id))
        await self._second_factor.check(user, factor, address=address)
        if not await self._set(user, new_password, "password_reset", Asker(address), keep=None):
            raise _wrong_code()
        await quietly(
            self._limits.forgive(user.email_key),
            self._resets.drop(reset_id),
            self._settled(reset_id),
        )

    async def change(self, caller: Caller, *, old_password: str, new_password: str) -> None:
        """Set a new password with the old one; this ends the caller's other sessions.

        Raises:
            APIError: 403 wrong_password; 409 changed_meanwhile; 422 password_too_common,
                password_too_personal; 429; 503.
        """
        user = caller.user
        self._rules.check(new_password, user.email, user.name, field="newPassword")
        await self._password_check.check(caller, old_password)
        asker = Asker(caller.address, user.id)
        if not await self._set(user, new_password, "password_changed", asker, keep=caller):
            raise changed_meanwhile()

    async def _check_mailed(self, reset_id: str, code: str) -> None:
        request_id = new_id()
        reply = await ask(
            self._requests,
            Queue.CONFIRM_CHANGE_PASSWORD,
            ConfirmChangePassword(
                kind="confirm",
                request_id=request_id,
                reset_id=reset_id,
                code=code,
                deadline=deadline(),
            ),
            ConfirmChangePasswordReply,
            request_id,
        )
        if reply.refusal is not None:
            raise _wrong_code()

    async def _set(
        self,
        user: User,
        new_password: str,
        kind: SecurityEventKind,
        asker: Asker,
        *,
        keep: Caller | None,
    ) -> bool:
        hashed = await self._passwords.hash(new_password, asker)
        dues = credentials_changed(user, kind, address=asker.address, caller=keep)
        changed = await self._store.change(
            user.id,
            # Also delete what another person may have begun with the old password.
            {"password_hash": hashed, "enrolment": None, "email_change": None},
            where={"challenge_epoch": user.challenge_epoch},
            ends="sessions",
            due=dues,
        )
        if changed:
            if keep is not None:
                await self._store.set_session_epoch(keep.session.id, user.epoch + 1)
            await self._outbox.settle(user.id, dues)
        return changed

    async def _settled(self, reset_id: str) -> None:
        # If this is lost, the code expires by itself, and the new epoch rejects it anyway.
        await self._requests.publish(
            Queue.CONFIRM_CHANGE_PASSWORD,
            ConfirmChangePassword(kind="settled", request_id=new_id(), reset_id=reset_id),
            message_id=f"settled.{reset_id}",
        )


def credentials_changed(
    user: User, kind: SecurityEventKind, *, address: str, caller: Caller | None
) -> list[Due]:
    """Return what is due when an account's password or second factor changes.

    Sessions of older epochs end, except the caller's, which moves to the new epoch right after
    the write. A crash between the two ends that one as well, which is safe.
    """
    moment = now()
    event_id = new_id()
    happened: SecurityEvent = event(
        user.id,
        kind,
        id=event_id,
        at=moment,
        address=address,
        session_id=caller.session.id if caller else None,
    )
    return [
        *all_sessions_end(user, at=moment, but=caller.session.id if caller else None),
        Due.for_message(
            Queue.SECURITY_NOTICE,
            notice(user, kind, id=event_id, at=moment),
            id=event_id,
            at=moment,
            event=happened,
        ),
    ]


def _wrong_code() -> APIError:
    return APIError(
        400,
        "wrong_code",
        "The code is not right or no longer valid: try again or request a new one.",
    )
