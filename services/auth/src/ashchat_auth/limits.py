"""Who is charged for what a client does, and how much.

The actor pays: each attempt charges the client's networks, however many addresses, accounts or
codes it tries. An account is charged separately for its confirmed devices and for strangers, so
that strangers cannot lock its owner out. A password or code is charged before it is compared, and
a right one is returned: concurrent attempts gain nothing over sequential ones.

docs/reference/limits.md has the same table.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from ashchat_auth.settings import Settings
from ashchat_core.admission.networks import network_buckets, networks
from ashchat_core.admission.rules import PLATFORM, Bucket, Limiter, Rate

MINUTE: Final = 60.0
QUARTER: Final = 15 * MINUTE
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

MailKind = Literal["sign-up", "reset"]
Buckets = tuple[Bucket, ...]

FIXED: Final[Mapping[str, Rate]] = MappingProxyType(
    {
        # Two at once, because an answer was lost or a button was pressed twice.
        "mail.address-network": Rate(2, MINUTE),
        "mail.address-network-hour": Rate(8, HOUR),
        # Within minutes an address gets a few mails, from however many networks.
        "mail.address": Rate(3, 3 * MINUTE),
        # Attempts at a second factor per challenge; then the password (or mail) is needed again.
        "code.challenge": Rate(5, QUARTER),
        "profile.account": Rate(30, QUARTER),
        # Wrong codes of an authenticator until its owner is informed, once a day.
        "second-factor.unnoticed": Rate(4, HOUR),
        "second-factor.notice": Rate(1, DAY),
    }
)
"""The rates that no setting changes."""


class AuthLimits:
    """The limits of auth. A returned number is how many seconds to wait; 0: it was charged."""

    def __init__(self, admission: Limiter, settings: Settings) -> None:
        self._admission = admission
        self.devices_max = settings.devices_per_account
        """Maximum devices of an account; another one replaces the oldest."""

        self._rates = {
            **FIXED,
            "mail.network": Rate(settings.code_mails_per_network_per_day, DAY),
            "mail.platform": Rate(settings.code_mails_per_day, DAY),
            "mail.address-day": Rate(settings.code_mails_per_address_per_day, DAY),
            "mail.account": Rate(settings.device_codes_per_hour, HOUR),
            "password.device": Rate(settings.wrong_passwords_per_quarter, QUARTER),
            "password.account-network": Rate(settings.wrong_passwords_per_quarter, QUARTER),
            "password.strangers": Rate(settings.stranger_passwords_per_hour, HOUR),
            "password.network": Rate(settings.wrong_passwords_per_network_per_hour, HOUR),
            "sign-in.device": Rate(settings.sign_ins_per_device_per_hour, HOUR),
            "code.subject-network": Rate(settings.code_tries_per_quarter, QUARTER),
            "code.network": Rate(settings.wrong_codes_per_network_per_day, DAY),
            "second-factor.account": Rate(settings.wrong_second_factors_per_day, DAY),
        }

    async def mail(self, kind: MailKind, email_key: str, address: str) -> int:
        """Charge a code that a client without a session has mailed to an address."""
        return await self._admission.take(self._mail(kind, email_key, address))

    async def uncount_mail(self, kind: MailKind, email_key: str, address: str) -> None:
        """Return what `mail` charged, because the code could not be requested."""
        await self._admission.give_back(self._mail(kind, email_key, address))

    async def password_tried(self, account: str, address: str, device: str | None) -> int:
        """Charge a password before it is compared."""
        return await self._admission.take(self._password(account, address, device))

    async def password_right(self, account: str, address: str, device: str | None) -> None:
        """Return what `password_tried` charged, because the password was right."""
        await self._admission.give_back(self._password(account, address, device))

    async def forgive(self, account: str) -> None:
        """Forget the wrong passwords of strangers, after a reset by mail."""
        await self._admission.refill([self._bucket("password.strangers", account)])

    async def signed_in(self, account: str, device: str) -> int:
        """Charge a sign-in on a confirmed device with a right password."""
        return await self._take("sign-in.device", account, device)

    async def profile_changed(self, account: str) -> int:
        """Charge a profile change."""
        return await self._take("profile.account", account)

    async def code_mailed(self, account: str) -> int:
        """Charge a code that will be mailed to a user whose password was right."""
        return await self._take("mail.account", account)

    async def code_tried(self, subject: str, address: str) -> int:
        """Charge a mailed code before it is compared."""
        return await self._admission.take(self._code(subject, address))

    async def code_right(self, subject: str, address: str) -> None:
        """Return what `code_tried` charged, because the code was right."""
        await self._admission.give_back(self._code(subject, address))

    async def challenge_tried(self, challenge_id: str) -> int:
        """Charge an attempt at a second factor to one challenge."""
        return await self._take("code.challenge", challenge_id)

    async def factor_tried(self, account: str) -> int:
        """Charge an authenticator's code before it is compared, wherever it comes from."""
        return await self._take("second-factor.account", account)

    async def factor_right(self, account: str) -> None:
        """Return what `factor_tried` charged, because the code was right."""
        await self._admission.give_back([self._bucket("second-factor.account", account)])

    async def factor_wrong(self, account: str) -> bool:
        """Return whether the owner must be informed of wrong codes now."""
        if await self._admission.has_room([self._bucket("second-factor.unnoticed", account)]):
            return False
        return await self._admission.has_room([self._bucket("second-factor.notice", account)])

    def _mail(self, kind: MailKind, email_key: str, address: str) -> Buckets:
        client = _client(address)
        return (
            self._bucket("mail.address-network", kind, email_key, client),
            self._bucket("mail.address-network-hour", kind, email_key, client),
            self._bucket("mail.address", kind, email_key),
            self._bucket("mail.address-day", kind, email_key),
            *self._network("mail.network", address),
            self._bucket("mail.platform", PLATFORM),
        )

    def _password(self, account: str, address: str, device: str | None) -> Buckets:
        if device is not None:
            return (self._bucket("password.device", account, device),)
        return (
            self._bucket("password.account-network", account, _client(address)),
            self._bucket("password.strangers", account),
            *self._network("password.network", address),
        )

    def _code(self, subject: str, address: str) -> Buckets:
        return (
            self._bucket("code.subject-network", subject, _client(address)),
            *self._network("code.network", address),
        )

    def _network(self, limit: str, address: str) -> Buckets:
        return network_buckets(limit, address, self._rates[limit])

    def _bucket(self, limit: str, *subject: str) -> Bucket:
        return Bucket(limit, subject, self._rates[limit])

    async def _take(self, limit: str, *subject: str) -> int:
        return await self._admission.take([self._bucket(limit, *subject)])


def _client(address: str) -> str:
    """Return the narrowest network of a client."""
    return next(iter(networks(address)))
