"""Two-factor settings: enrol and confirm an authenticator, renew recovery codes, disable.

Enrolling and disabling require the password again; confirming proves that the authenticator
works before the account depends on it. Enabling and disabling start a new epoch: the other
sessions end, and devices that were confirmed by mail alone must present a code once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyotp

from ashchat_auth.models import Caller, Due, Enrolment, KeyRingMissingError, TwoFactor
from ashchat_auth.service.common import changed_meanwhile, new_id, now, raise_if_limited
from ashchat_auth.service.devices import devices_changed
from ashchat_auth.service.events import event, notice
from ashchat_auth.service.outbox import Outbox
from ashchat_auth.service.passwords import PasswordCheck, credentials_changed
from ashchat_auth.service.ports import Ports
from ashchat_auth.service.second_factor import (
    Factor,
    SecondFactor,
    base32,
    matching_step,
    new_secret,
    no_ring,
)
from ashchat_core.errors import APIError
from ashchat_core.topology import Queue


@dataclass(frozen=True, slots=True)
class Enrolling:
    """What the user enters into an authenticator."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class State:
    """Whether an account has two-factor authentication."""

    enabled: bool
    recovery_codes_left: int


class TwoFactorSettings:
    """The flows of two-factor settings."""

    def __init__(
        self,
        ports: Ports,
        *,
        password_check: PasswordCheck,
        second_factor: SecondFactor,
        outbox: Outbox,
        issuer: str,
    ) -> None:
        self._store = ports.store
        self._vault = ports.vault
        self._limits = ports.limits
        self._password_check = password_check
        self._second_factor = second_factor
        self._outbox = outbox
        self._issuer = issuer

    def state(self, caller: Caller) -> State:
        """Return whether the caller has two-factor authentication."""
        enrolled = caller.user.two_factor
        return State(enrolled is not None, len(enrolled.recovery) if enrolled else 0)

    async def enrol(self, caller: Caller, *, password: str) -> Enrolling:
        """Begin an enrolment: return a new secret, which replaces an unconfirmed one.

        Raises:
            APIError: 403 wrong_password; 404; 409 two_factor_enabled; 429; 503.
        """
        await self._password_check.check(caller, password)
        user = caller.user
        if user.two_factor is not None:
            raise _enabled()
        secret = new_secret()
        try:
            sealed = self._vault.seal(secret, user.id)
        except KeyRingMissingError:
            raise no_ring() from None
        enrolment = Enrolment(secret=sealed, at=now(), epoch=user.challenge_epoch)
        if not await self._store.change(
            user.id,
            {"enrolment": enrolment},
            where={"challenge_epoch": user.challenge_epoch},
        ):
            raise changed_meanwhile()
        text = base32(secret)
        uri = pyotp.TOTP(text).provisioning_uri(name=user.email, issuer_name=self._issuer)
        return Enrolling(text, uri)

    async def confirm(self, caller: Caller, *, code: str) -> list[str]:
        """Enable two-factor authentication; return the recovery codes, which are shown only now.

        Raises:
            APIError: 400 wrong_code; 409 two_factor_enabled, no_enrolment,
                changed_meanwhile; 429; 503.
        """
        user = caller.user
        raise_if_limited(await self._limits.code_tried(user.id, caller.address))
        if user.two_factor is not None:
            raise _enabled()
        if user.enrolment is None or user.enrolment.epoch != user.challenge_epoch:
            raise APIError(409, "no_enrolment", "Begin with POST /api/user/two-factor.")
        secret = self._second_factor.secret_of(user, user.enrolment.secret)
        moment = now()
        step = matching_step(secret, code, moment)
        if step is None:
            raise APIError(
                400, "wrong_code", "The code is not right: check the authenticator's clock."
            )
        await self._limits.code_right(user.id, caller.address)
        codes, kept = self._second_factor.new_recovery_codes(user.id)
        device = user.device(caller.session.device_hash)
        changes, devices_due = devices_changed(user, (device,) if device else (), at=moment)
        dues = credentials_changed(
            user, "two_factor_enabled", address=caller.address, caller=caller
        )
        dues.append(devices_due)
        enrolled = TwoFactor(secret=user.enrolment.secret, last_step=step, recovery=kept, at=moment)
        if not await self._store.change(
            user.id,
            {**changes, "two_factor": enrolled, "enrolment": None},
            where={
                "challenge_epoch": user.challenge_epoch,
                "devices_version": user.devices_version,
                "enrolment.secret": user.enrolment.secret,
            },
            ends="sessions",
            due=dues,
        ):
            raise changed_meanwhile()
        await self._keep_caller_signed_in(caller, dues)
        return codes

    async def renew(self, caller: Caller, *, password: str, factor: Factor) -> list[str]:
        """Return new recovery codes; the previous ones become invalid.

        Raises:
            APIError: 400 wrong_code, wrong_recovery_code; 403 wrong_password,
                two_factor_required; 409 two_factor_off, changed_meanwhile; 429; 503.
        """
        await self._prove(caller, password, factor)
        user = caller.user
        codes, kept = self._second_factor.new_recovery_codes(user.id)
        moment = now()
        event_id = new_id()
        due = Due.for_message(
            Queue.SECURITY_NOTICE,
            notice(user, "recovery_codes_renewed", id=event_id, at=moment),
            id=event_id,
            at=moment,
            event=event(
                user.id, "recovery_codes_renewed", id=event_id, at=moment, address=caller.address
            ),
        )
        if not await self._store.renew_recovery(user.id, user.epoch, kept, due):
            raise changed_meanwhile()
        await self._outbox.settle(user.id, [due])
        return codes

    async def disable(self, caller: Caller, *, password: str, factor: Factor) -> None:
        """Disable two-factor authentication.

        Raises:
            APIError: as `renew`.
        """
        await self._prove(caller, password, factor)
        dues = credentials_changed(
            caller.user, "two_factor_disabled", address=caller.address, caller=caller
        )
        if not await self._store.change(
            caller.user.id,
            {"two_factor": None, "enrolment": None},
            where={"epoch": caller.user.epoch},
            ends="sessions",
            due=dues,
        ):
            raise changed_meanwhile()
        await self._keep_caller_signed_in(caller, dues)

    async def _prove(self, caller: Caller, password: str, factor: Factor) -> None:
        if caller.user.two_factor is None:
            raise APIError(409, "two_factor_off", "This account has no two-factor authentication.")
        await self._password_check.check(caller, password)
        await self._second_factor.check(caller.user, factor, address=caller.address)

    async def _keep_caller_signed_in(self, caller: Caller, dues: Sequence[Due]) -> None:
        await self._store.set_session_epoch(caller.session.id, caller.user.epoch + 1)
        await self._outbox.settle(caller.user.id, dues)


def _enabled() -> APIError:
    return APIError(
        409,
        "two_factor_enabled",
        "This account already has two-factor authentication: disable it first.",
    )
