"""The edge's certificate, which is validated before it is served. Pure.

The previous certificate stays in use while a new one is not valid, so a wrong renewal breaks
nothing.
"""

import hashlib
import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from ashchat_core.api.reasons import Reason
from ashchat_operator.resource.types import Data

CHAIN_KEY: Final = "tls.crt"
PRIVATE_KEY_KEY: Final = "tls.key"
"""The keys of a Secret of type kubernetes.io/tls."""

SOON: Final = timedelta(days=14)
"""How long before its expiry a certificate is reported: renewal at two thirds of its life
(cert-manager, ACME clients) is overdue then."""

_SHOWN_NAMES: Final = 8


class CertificateRejectedError(Exception):
    """A certificate cannot be served; the text states why and what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain and its key, which belong together."""

    chain: bytes
    key: bytes = field(repr=False)
    fingerprint: str
    """A digest of the chain, which changes with every renewal."""
    not_after: datetime
    names: tuple[str, ...]

    def covers(self, host: str) -> bool:
        """Return whether it covers a host (RFC 9525: a wildcard stands for one label)."""
        parent = host.partition(".")[2]
        return any(
            name.lower() == host.lower()
            or (name.startswith("*.") and bool(parent) and name[2:].lower() == parent.lower())
            for name in self.names
        )


@dataclass(frozen=True, slots=True)
class CertificateChoice:
    """Which certificate is served, and what to report."""

    served: Certificate | None
    good: bool
    """Whether the certificate of the Secret is served, and valid."""
    works: bool
    """Whether clients can connect: a certificate is served that has not expired."""
    reason: Reason
    message: str


def load(data: Data) -> Certificate:
    """Return the certificate that a Secret holds.

    Raises:
        CertificateRejectedError: It is missing or not valid, or the key belongs to another.
    """
    chain, key = data.get(CHAIN_KEY, b""), data.get(PRIVATE_KEY_KEY, b"")
    if not chain or not key:
        raise CertificateRejectedError(
            Reason.CERTIFICATE_MISSING, f"it lacks {CHAIN_KEY} and {PRIVATE_KEY_KEY}"
        )
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        private = load_pem_private_key(key, password=None)
        public = leaf.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Never the library's message: it may quote the key.
        raise CertificateRejectedError(
            Reason.CERTIFICATE_UNREADABLE,
            f"{CHAIN_KEY} and {PRIVATE_KEY_KEY} must be PEM, the key without a passphrase",
        ) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise CertificateRejectedError(
            Reason.CERTIFICATE_KEY_MISMATCH,
            f"{PRIVATE_KEY_KEY} is not the key of the first certificate in {CHAIN_KEY}",
        )
    return Certificate(
        chain,
        key,
        fingerprint=hashlib.sha256(chain).hexdigest()[:16],
        not_after=leaf.not_valid_after_utc,
        names=_names(leaf),
    )


def check(data: Data, host: str, now: datetime) -> Certificate:
    """Return the certificate that a Secret holds if it can be served now.

    Args:
        data: The Secret's.
        host: The host that it must cover; empty: not known, so it is not checked.
        now: The time.

    Raises:
        CertificateRejectedError: It cannot.
    """
    found = load(data)
    leaf = x509.load_pem_x509_certificates(found.chain)[0]
    if found.not_after <= now:
        raise CertificateRejectedError(
            Reason.CERTIFICATE_EXPIRED, f"it expired on {_day(found.not_after)}"
        )
    if leaf.not_valid_before_utc > now:
        raise CertificateRejectedError(
            Reason.CERTIFICATE_NOT_YET_VALID,
            f"it is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M}",
        )
    if host and not found.covers(host):
        names = ", ".join(found.names[:_SHOWN_NAMES]) or "no host"
        raise CertificateRejectedError(
            Reason.CERTIFICATE_HOST_MISMATCH, f"it covers {names}, but publicUrl's host is {host}"
        )
    return found


def choose(secret: str, given: Data, former: Data, host: str, now: datetime) -> CertificateChoice:
    """Return which certificate to serve.

    Args:
        secret: The name of the user's Secret, for the message.
        given: Its data; empty: it does not exist.
        former: The data of the certificate that is served now; empty: there is none.
        host: The host that it must cover; empty: not known.
        now: The time.
    """
    try:
        served = check(given, host, now)
    except CertificateRejectedError as refused:
        return _kept(secret, refused, former, now)
    ends = _day(served.not_after)
    soon = served.not_after - now < SOON
    return CertificateChoice(
        served,
        good=True,
        works=True,
        reason=Reason.EXPIRES_SOON if soon else Reason.SERVED,
        message=f"the certificate in Secret {secret} {'expires on' if soon else 'is valid until'} "
        f"{ends}",
    )


def _kept(
    secret: str, refused: CertificateRejectedError, former: Data, now: datetime
) -> CertificateChoice:
    message = f"the certificate in Secret {secret} is not served: {refused}"
    try:
        served = load(former)
    except CertificateRejectedError:
        message += ". There is no previous one"
        return CertificateChoice(
            None, good=False, works=False, reason=refused.reason, message=message
        )
    works = served.not_after > now
    until = "valid until" if works else "which expired on"
    message += f". The previous one, {until} {_day(served.not_after)}, stays in use"
    return CertificateChoice(
        served, good=False, works=works, reason=refused.reason, message=message
    )


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    )


def _day(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d")


def bare_host(host: str) -> str:
    """Return a URL's host as certificates name it: an IPv6 address in its short form."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host
