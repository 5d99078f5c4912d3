"""The second factor: codes of an authenticator (RFC 6238) and recovery codes.

A time step is accepted once, also across pods: accepting it is one conditional write of the
account's document. Recovery codes are random (80 bits), so a keyed hash is enough for them.
(OWASP ASVS 5.0, 6.5.2, requires slow hashes below 112 bits if the hash alone is enough to try
codes; it is not enough without the key ring, which is not in the database.) Ten argon2 hashes
would take a fifth of a second for every wrong guess.
"""

import base64
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pyotp

from ashchat_auth.models import Due, KeyRingMissingError, RecoveryCode, User
from ashchat_auth.service.common import new_id, now, raise_if_limited
from ashchat_auth.service.events import Events, event, notice
from ashchat_auth.service.outbox import Outbox
from ashchat_auth.service.ports import Ports
from ashchat_core import text
from ashchat_core.errors import APIError, UnavailableError
from ashchat_core.topology import Queue

STEP_SECONDS: Final = 30
WINDOW_STEPS: Final = 1
"""Accepted steps before and after the current one: clocks differ, and typing takes time."""

SECRET_BYTES: Final = 20
"""160 bits, as RFC 4226, section 4 (R6), recommends."""

RECOVERY_CODES: Final = 10
RECOVERY_ALPHABET: Final = "abcdefghjkmnpqrstvwxyz0123456789"
"""Crockford's 32 letters, which are not mistaken for each other."""
_MISTAKEN: Final = str.maketrans({"o": "0", "i": "1", "l": "1"})
RECOVERY_GROUPS, RECOVERY_GROUP_CHARS = 4, 4
"""16 letters out of 32: 80 bits."""


@dataclass(frozen=True, slots=True)
class Factor:
    """The second factor of a request: one of these, or neither."""

    code: str | None
    recovery_code: str | None = None

    def __bool__(self) -> bool:
        return bool(self.code or self.recovery_code)


class SecondFactor:
    """Checks second factors."""

    def __init__(self, ports: Ports, *, outbox: Outbox, events: Events) -> None:
        self._store = ports.store
        self._vault = ports.vault
        self._limits = ports.limits
        self._outbox = outbox
        self._events = events

    async def check(self, user: User, factor: Factor, *, address: str, status: int = 400) -> None:
        """Accept a right code that was not used before, and mark it as used.

        Wrong codes of an authenticator are limited for each account, wherever they come from,
        and the owner is informed: the client knows the password, or holds the account's mail.
        Recovery codes cannot be guessed, so they let an owner in whom guesses keep out.

        Raises:
            APIError: `status` wrong_code or wrong_recovery_code, 403 two_factor_required, 429,
                503 if the key ring is missing.
        """
        if user.two_factor is None:
            return
        if not factor:
            raise APIError(
                403,
                "two_factor_required",
                "This account has two-factor authentication: send totpCode or recoveryCode, too.",
            )
        if factor.recovery_code:
            if not await self._use_recovery(user, factor.recovery_code, address):
                raise APIError(
                    status,
                    "wrong_recovery_code",
                    "This recovery code is not right, or was used before.",
                )
            return
        secret = self.secret_of(user, user.two_factor.secret)
        raise_if_limited(await self._limits.factor_tried(user.id))
        step = matching_step(secret, factor.code or "", datetime.now(UTC))
        if step is None:
            await self._wrong(user, address)
        elif await self._store.accept_step(user.id, step):
            await self._limits.factor_right(user.id)
            await self._reseal(user, secret)
            return
        raise APIError(
            status,
            "wrong_code",
            "The code is not right, or was used before: wait for the next one.",
        )

    async def _wrong(self, user: User, address: str) -> None:
        """Record a wrong code, and inform the owner when there are many."""
        self._events.count(event(user.id, "second_factor_failed", address=address))
        if await self._limits.factor_wrong(user.id):
            moment = now()
            event_id = new_id()
            due = Due.for_message(
                Queue.SECURITY_NOTICE,
                notice(user, "second_factor_guessed", id=event_id, at=moment),
                id=event_id,
                at=moment,
                event=event(
                    user.id, "second_factor_guessed", id=event_id, at=moment, address=address
                ),
            )
            await self._store.change(user.id, {}, due=[due])
            await self._outbox.settle(user.id, [due])

    def secret_of(self, user: User, sealed: str) -> bytes:
        """Return an authenticator's secret.

        Raises:
            APIError: 503 if the key ring is missing.
        """
        try:
            return self._vault.open(sealed, user.id)
        except KeyRingMissingError:
            raise no_ring() from None

    def new_recovery_codes(self, user_id: str) -> tuple[list[str], tuple[RecoveryCode, ...]]:
        """Return new recovery codes, and their hashes to store.

        Raises:
            APIError: 503 if the key ring is missing.
        """
        codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
        try:
            kept = [self._vault.keyed_hashes(plain(code), user_id)[0] for code in codes]
        except KeyRingMissingError:
            raise no_ring() from None
        return codes, tuple(RecoveryCode(hash=item) for item in kept)

    async def _use_recovery(self, user: User, code: str, address: str) -> bool:
        try:
            hashes = self._vault.keyed_hashes(plain(code), user.id)
        except KeyRingMissingError:
            raise no_ring() from None
        moment = now()
        event_id = new_id()
        due = Due.for_message(
            Queue.SECURITY_NOTICE,
            notice(user, "recovery_code_used", id=event_id, at=moment),
            id=event_id,
            at=moment,
            event=event(user.id, "recovery_code_used", id=event_id, at=moment, address=address),
        )
        if not await self._store.use_recovery(user.id, hashes, due):
            return False
        await self._outbox.settle(user.id, [due])
        return True

    async def _reseal(self, user: User, secret: bytes) -> None:
        """Seal a secret with the active key if it was sealed with another one."""
        if user.two_factor is None or not self._vault.stale(user.two_factor.secret):
            return
        after = self._vault.seal(secret, user.id)
        await self._store.reseal(user.id, "two_factor", user.two_factor.secret, after)


def matching_step(secret: bytes, code: str, moment: datetime) -> int | None:
    """Return the newest time step that a code belongs to; None if there is none.

    Every step is compared, each in constant time.
    """
    totp = pyotp.TOTP(base32(secret))
    current = int(moment.timestamp()) // STEP_SECONDS
    found = None
    for step in range(current - WINDOW_STEPS, current + WINDOW_STEPS + 1):
        if hmac.compare_digest(totp.generate_otp(step), code):
            found = step
    return found


def base32(secret: bytes) -> str:
    """Return a secret as authenticators accept it."""
    return base64.b32encode(secret).decode()


def new_secret() -> bytes:
    """Return a secret for an authenticator."""
    return secrets.token_bytes(SECRET_BYTES)


def plain(recovery_code: str) -> str:
    """Return a recovery code without hyphens and spaces, its mistakable letters corrected."""
    return text.letters_code(recovery_code).translate(_MISTAKEN)


def no_ring() -> APIError:
    """Return the error for a missing key ring."""
    return UnavailableError("Two-factor codes cannot be checked at the moment; try again later.")


def _new_recovery_code() -> str:
    letters = [
        "".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(RECOVERY_GROUP_CHARS))
        for _ in range(RECOVERY_GROUPS)
    ]
    return "-".join(letters)
