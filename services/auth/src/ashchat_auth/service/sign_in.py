"""Sign-in with a password on a known device, and confirmation of new devices with a code.

With two-factor enrolled, a new device needs the authenticator instead of a mailed code: a
mailed code proves control of an address only (OWASP ASVS 5.0, 6.3.6).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ashchat_auth.models import (
    Device,
    Purpose,
    Session,
    Temporary,
    User,
)
from ashchat_auth.service.common import (
    ask,
    deadline,
    new_id,
    no_such_user,
    now,
    quietly,
    raise_if_limited,
    refused,
)
from ashchat_auth.service.devices import devices_changed
from ashchat_auth.service.events import Events, event
from ashchat_auth.service.outbox import Outbox
from ashchat_auth.service.passwords import PasswordCheck
from ashchat_auth.service.ports import Asker, Ports
from ashchat_auth.service.second_factor import Factor, SecondFactor
from ashchat_auth.service.sessions import SignedIn
from ashchat_core.errors import APIError
from ashchat_core.messages import (
    ConfirmNewDevice,
    ConfirmNewDeviceReply,
    NewDeviceCode,
)
from ashchat_core.text import address_key
from ashchat_core.tokens import device_hash
from ashchat_core.topology import Queue

NEW_DEVICE: Mapping[Purpose, tuple[str, str]] = {
    Purpose.MAILED_CODE: (
        "new_device",
        "This device is new: confirm it with the mailed code.",
    ),
    Purpose.TOTP: (
        "new_device_totp",
        "This device is new: confirm it with a code of your authenticator.",
    ),
}
"""Reason and message of a challenge, by the code that it requires."""


@dataclass(frozen=True, slots=True)
class DeviceProof:
    """The proof for a new device: one of these."""

    device_hash: str
    """Hash of the device token of the sign-in."""

    code: str | None
    """The mailed code, or the authenticator's if that is required."""

    recovery_code: str | None = None


class SignIn:
    """Exchanges a password for tokens."""

    def __init__(
        self,
        ports: Ports,
        *,
        password_check: PasswordCheck,
        second_factor: SecondFactor,
        outbox: Outbox,
        events: Events,
        refresh_life: timedelta,
    ) -> None:
        self._store = ports.store
        self._requests = ports.requests
        self._passwords = ports.passwords
        self._signer = ports.signer
        self._limits = ports.limits
        self._password_check = password_check
        self._second_factor = second_factor
        self._outbox = outbox
        self._events = events
        self._refresh_life = refresh_life

    async def begin(
        self, *, email: str, password: str, device_token: str, address: str
    ) -> SignedIn:
        """Sign in on a device that is known.

        Raises:
            APIError: 401 wrong_credentials; 403 new_device (a code is mailed) or
                new_device_totp, with a temporary token; 429; 503.
        """
        key = address_key(email)
        hashed = device_hash(device_token)
        user = await self._store.user_by_email(key)
        device = user.device(hashed) if user else None
        asker = Asker(address, user.id if user and device else None)
        right = await self._password_check.compare(
            user.password_hash if user else None,
            password,
            asker,
            key=key,
            device=device.device_hash if device else None,
        )
        if user is None or not right:
            if user is not None:
                self._events.count(event(user.id, "sign_in_failed", address=address))
            raise _wrong_credentials()
        await self._rehash(user, password, asker)
        if device is None:
            raise await self._challenge(user, hashed, address)
        raise_if_limited(await self._limits.signed_in(user.id, hashed))
        return await self._session(user, device, address)

    async def confirm_new_device(
        self, *, temporary: str, proof: DeviceProof, device: Device, address: str
    ) -> None:
        """Add a device to the account if the required code is right.

        Args:
            temporary: The token of the challenge.
            proof: The code, and the device that the challenge is for.
            device: The device to add: the same, or one with a token that was issued for it.
            address: The client's network address.

        Raises:
            APIError: 401 invalid_token; 403 wrong_device or the reason of a wrong code; 404;
                429; 503.
        """
        claims = self._signer.read_temporary(temporary)
        if claims is None or claims.purpose not in NEW_DEVICE:
            raise _sign_in_again()
        if claims.device_hash != proof.device_hash:
            raise APIError(403, "wrong_device", "This code is for another device.")
        user = await self._user_of(claims)
        raise_if_limited(await self._limits.code_tried(user.id, address))
        if claims.purpose is Purpose.TOTP:
            factor = Factor(proof.code, proof.recovery_code)
            raise_if_limited(await self._limits.challenge_tried(claims.challenge_id))
            await self._second_factor.check(user, factor, address=address, status=403)
        else:
            await self._check_mailed(claims, proof)
        await self._limits.code_right(user.id, address)
        await self._add(user, device, claims, address)

    async def _user_of(self, claims: Temporary) -> User:
        """Return the account of a challenge, unless the challenge has ended."""
        user = await self._store.user(claims.subject)
        if user is None:
            raise no_such_user()
        enrolled = user.two_factor is not None
        if user.challenge_epoch != claims.epoch or enrolled != (claims.purpose is Purpose.TOTP):
            raise _sign_in_again()
        return user

    async def _check_mailed(self, claims: Temporary, proof: DeviceProof) -> None:
        request_id = new_id()
        reply = await ask(
            self._requests,
            Queue.CONFIRM_NEW_DEVICE_REPLY,
            ConfirmNewDevice(
                kind="confirm",
                request_id=request_id,
                challenge_id=claims.challenge_id,
                code=proof.code or "",
                deadline=deadline(),
            ),
            ConfirmNewDeviceReply,
            request_id,
        )
        if reply.refusal is not None:
            raise refused(403, reply.refusal)

    async def _add(self, user: User, device: Device, claims: Temporary, address: str) -> None:
        moment = now()
        added = event(
            user.id,
            "device_added",
            id=f"device.{claims.challenge_id}",
            at=moment,
            address=address,
            device_os=device.os,
        )
        while user.device(device.device_hash) is None:
            devices = (*user.devices, device)[-self._limits.devices_max :]
            changes, due = devices_changed(user, devices, at=moment, event=added)
            if await self._store.change(
                user.id,
                changes,
                where={
                    "challenge_epoch": claims.epoch,
                    "devices_version": user.devices_version,
                },
                due=[due],
            ):
                await self._outbox.settle(user.id, [due])
                break
            # Another device was added meanwhile, or the challenge has ended.
            user = await self._user_of(claims)
        if claims.purpose is Purpose.MAILED_CODE:
            # If this is lost, the challenge expires by itself.
            settled = ConfirmNewDevice(
                kind="settled", request_id=new_id(), challenge_id=claims.challenge_id
            )
            await quietly(
                self._requests.publish(
                    Queue.CONFIRM_NEW_DEVICE_REPLY,
                    settled,
                    message_id=f"settled.{claims.challenge_id}",
                )
            )

    async def _challenge(self, user: User, hashed: str, address: str) -> APIError:
        raise_if_limited(await self._limits.code_mailed(user.id))
        purpose = Purpose.TOTP if user.two_factor else Purpose.MAILED_CODE
        challenge_id = new_id()
        if purpose is Purpose.MAILED_CODE:
            await self._requests.publish(
                Queue.CONFIRM_NEW_DEVICE,
                NewDeviceCode(
                    challenge_id=challenge_id,
                    user_id=user.id,
                    email=user.email,
                    nickname=user.name,
                    preferred_language=user.preferred_language,
                    requested_at=datetime.now(UTC),
                ),
                message_id=challenge_id,
            )
        self._events.count(event(user.id, "new_device", address=address))
        claims = Temporary(
            purpose=purpose,
            subject=user.id,
            challenge_id=challenge_id,
            device_hash=hashed,
            epoch=user.challenge_epoch,
        )
        token = self._signer.temporary(claims, now())
        reason, sentence = NEW_DEVICE[purpose]
        return APIError(403, reason, sentence, data={"token": token, "info": sentence})

    async def _session(self, user: User, device: Device, address: str) -> SignedIn:
        moment = now()
        session = Session(
            id=new_id(),
            user_id=user.id,
            device_hash=device.device_hash,
            created_at=moment,
            used_at=moment,
            epoch=user.epoch,
            sign_in=await self._store.next_sign_in(user.id),
        )
        refresh_token = await self._store.add_session(
            session, expires_at=moment + self._refresh_life
        )
        # Check after the write: a concurrent change of the password either saw this session
        # and ended it, or is detected here.
        still = await self._store.user(user.id)
        if still is None or still.epoch != user.epoch:
            await self._store.delete_sessions([session.id])
            raise _wrong_credentials()
        if await self._store.end_replaced(session, moment):
            await self._outbox.end_sessions(user.id)
        await self._events.record(
            event(
                user.id,
                "signed_in",
                address=address,
                device_os=device.os,
                session_id=session.id,
                at=moment,
            )
        )
        token = self._signer.access(
            user_id=user.id,
            session_id=session.id,
            epoch=session.epoch,
            device_hash=device.device_hash,
            now=moment,
        )
        return SignedIn(token, refresh_token, user.id)

    async def _rehash(self, user: User, password: str, asker: Asker) -> None:
        """Hash the password again if its hash has old parameters; only now is it known."""
        if self._passwords.outdated(user.password_hash):
            fresh = await self._passwords.hash(password, asker)
            await self._store.change(
                user.id, {"password_hash": fresh}, where={"password_hash": user.password_hash}
            )


def _wrong_credentials() -> APIError:
    return APIError(401, "wrong_credentials", "The address or the password is not right.")


def _sign_in_again() -> APIError:
    return APIError(401, "invalid_token", "Sign in again to get a new code.")
