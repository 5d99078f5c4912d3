"""Six-digit codes: derived instead of random, so that a redelivery mails the same code.

A code is HMAC-SHA-256(key, purpose, subject, issue) reduced to six digits. Without the key it
can only be guessed, in five attempts (OWASP ASVS 5.0, 6.5.4 and 6.6.3). Redis stores a keyed
digest, never the code.
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal

from ashchat_core.text import address_key

DIGITS: Final = 6
TRIES: Final = 5
"""Maximum attempts at a code before a new one is required."""

LIFETIME_SECONDS: Final = 600
"""Lifetime of a pending item and its code."""

Purpose = Literal["sign-up", "device", "reset", "email-old", "email-new"]
"""What a code is for. The codes of a subject for different purposes are independent."""


@dataclass(frozen=True, slots=True)
class CodeKey:
    """The key that codes and digests are derived with."""

    secret: bytes = field(repr=False)

    def code(self, purpose: Purpose, subject: str, issue: int = 1) -> str:
        """Return the code of a subject (the id of the pending item) and issue number."""
        digest = self._mac("code", purpose, subject, str(issue))
        # 64 bits reduced to a million: the bias is below one in 10^13.
        return f"{int.from_bytes(digest[:8]) % 10**DIGITS:0{DIGITS}d}"

    def digest(self, purpose: Purpose, key: str, code: str) -> str:
        """Return the digest of a code that is stored under a Redis key."""
        return self._mac("digest", purpose, key, code).hex()

    def _mac(self, *parts: str) -> bytes:
        # Lengths first: ("ab", "c") and ("a", "bc") must differ.
        message = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)
        return hmac.new(self.secret, message, sha256).digest()


class CodeKeys:
    """The key in use and its predecessor, whose codes are valid for another 600 s."""

    def __init__(self, key: CodeKey) -> None:
        self._keys: tuple[CodeKey, ...] = (key,)

    def renew(self, key: CodeKey) -> None:
        """Start to use a new key."""
        if key != self._keys[0]:
            self._keys = (key, self._keys[0])

    def code(self, purpose: Purpose, subject: str, issue: int = 1) -> str:
        """Return the code of a subject, with the key in use."""
        return self._keys[0].code(purpose, subject, issue)

    def digest(self, purpose: Purpose, key: str, code: str) -> str:
        """Return the digest of a code, with the key in use."""
        return self._keys[0].digest(purpose, key, code)

    def digests(self, purpose: Purpose, key: str, code: str) -> tuple[str, ...]:
        """Return every digest that may be stored for a code."""
        return tuple(secret.digest(purpose, key, code) for secret in self._keys)


def mail_key(address: str) -> str:
    """Return the key of a pending sign-up: a hash, so that keys do not contain addresses."""
    return sha256(address_key(address).encode()).hexdigest()
