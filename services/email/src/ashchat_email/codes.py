"""Six-digit codes: derived, not drawn, so that a redelivered message mails the same one.

A code is HMAC-SHA-256(key, purpose, subject, issue) reduced to six digits. Who does not
know the key cannot guess it better than by chance, and five tries are all there are
(OWASP ASVS 5.0, 6.5.4 and 6.6.3). Redis holds a keyed digest, never the code.
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

DIGITS = 6
TRIES = 5
"""How often a code may be tried before a new one is needed."""

LIFETIME_SECONDS = 600
"""How long a pending sign-up, and its code, lives."""

Purpose = Literal["sign-up", "device", "reset", "email-old", "email-new"]
"""What a code is for. One for a purpose says nothing about the others of the same subject."""


@dataclass(frozen=True, slots=True)
class CodeKey:
    """The key that codes and digests are made with."""

    secret: bytes = field(repr=False)

    def code(self, purpose: Purpose, subject: str, issue: int = 1) -> str:
        """Return the code of a subject (the id of what it confirms) and issue number."""
        digest = self._mac("code", purpose, subject, str(issue))
        # 64 bits reduced to a million: the bias is below one in 10^13.
        return f"{int.from_bytes(digest[:8]) % 10**DIGITS:0{DIGITS}d}"

    def digest(self, purpose: Purpose, key: str, code: str) -> str:
        """Return what is kept of a code under a Redis key."""
        return self._mac("digest", purpose, key, code).hex()

    def _mac(self, *parts: str) -> bytes:
        # Lengths first: ("ab", "c") and ("a", "bc") must differ.
        message = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)
        return hmac.new(self.secret, message, sha256).digest()


class CodeKeys:
    """The key in use, and the one before it for as long as a code made with it may live.

    A changed key makes no pending code invalid; 600 s later its predecessor has no use.
    """

    def __init__(self, key: CodeKey) -> None:
        self._keys: tuple[CodeKey, ...] = (key,)

    def renew(self, key: CodeKey) -> None:
        """Take a new key into use."""
        if key != self._keys[0]:
            self._keys = (key, self._keys[0])

    def code(self, purpose: Purpose, subject: str, issue: int = 1) -> str:
        """Return the code of a subject by the key in use."""
        return self._keys[0].code(purpose, subject, issue)

    def digest(self, purpose: Purpose, key: str, code: str) -> str:
        """Return what is kept of a code by the key in use."""
        return self._keys[0].digest(purpose, key, code)

    def digests(self, purpose: Purpose, key: str, code: str) -> tuple[str, ...]:
        """Return everything that may have been kept of a code."""
        return tuple(secret.digest(purpose, key, code) for secret in self._keys)


def mail_key(address: str) -> str:
    """Return what a pending sign-up is found by: a hash, so that keys show no address."""
    return sha256(address.strip().casefold().encode()).hexdigest()
