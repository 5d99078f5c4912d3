"""Secrets at rest: sealed with AES-256-GCM under a key ring of versioned keys.

The ring is a folder: `<version>.key` are 32 bytes in hex, `active` names the version that
seals; all of them open. So a new key is added, made active, and the old one stays for as
long as something is sealed with it. Who has the database but not the ring has nothing.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ashchat_auth.models import RingMissing
from ashchat_auth.watched import WatchedFolder

KEY_BYTES = 32
NONCE_BYTES = 12
"""Random: fine for 2^32 messages a key (NIST SP 800-38D, 8.3)."""


@dataclass(frozen=True, slots=True)
class _Ring:
    active: str
    sealing: dict[str, AESGCM]
    hashing: dict[str, bytes]
    revision: str


class Vault:
    """Seals, opens, and hashes with a key."""

    def __init__(self, folder: Path) -> None:
        self._folder: WatchedFolder[_Ring] = WatchedFolder(folder, "*.key", _load)

    def seal(self, secret: bytes, owner: str) -> str:
        """Encrypt for one owner: what is copied into another's record does not open.

        Raises:
            RingMissing: there is no usable ring.
        """
        ring = self._ring()
        nonce = token_bytes(NONCE_BYTES)
        sealed = ring.sealing[ring.active].encrypt(nonce, secret, _bound(ring.active, owner))
        return f"{ring.active}.{urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, owner: str) -> bytes:
        """Decrypt what was sealed for this owner.

        Raises:
            RingMissing: there is no usable ring, it lacks the key, or the key is another.
        """
        version, _, text = sealed.partition(".")
        key = self._ring().sealing.get(version)
        if key is None:
            raise RingMissing(f"the key ring has no version {version}")
        try:
            raw = urlsafe_b64decode(text)
            return key.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound(version, owner))
        except (InvalidTag, Base64Error, ValueError):
            raise RingMissing(f"version {version} of the key ring does not open this") from None

    def stale(self, sealed: str) -> bool:
        """Tell whether it was sealed with another key than the active one.

        Raises:
            RingMissing: there is no usable ring.
        """
        return sealed.partition(".")[0] != self._ring().active

    def keyed_hashes(self, text: str, owner: str) -> tuple[str, ...]:
        """Return a text's hash by every key of the ring, the active one's first.

        Raises:
            RingMissing: there is no usable ring.
        """
        ring = self._ring()
        versions = [ring.active, *(version for version in ring.hashing if version != ring.active)]
        message = f"{owner}:{text}".encode()
        return tuple(
            f"{version}.{hmac.digest(ring.hashing[version], message, 'sha256').hex()}"
            for version in versions
        )

    @property
    def revision(self) -> str:
        """An opaque word that changes with the ring; empty: there is none."""
        try:
            return self._ring().revision
        except RingMissing:
            return ""

    def _ring(self) -> _Ring:
        try:
            return self._folder.current()
        except (OSError, ValueError, TypeError) as error:
            raise RingMissing("there is no usable key ring") from error


def _load(paths: list[Path], active: str) -> _Ring:
    keys = {path.stem: bytes.fromhex(path.read_text().strip()) for path in paths}
    if active not in keys:
        raise ValueError("the active key is not there")
    if any(len(key) != KEY_BYTES for key in keys.values()):
        raise ValueError(f"a key is not {KEY_BYTES} bytes")
    # What identifies the ring says nothing about it: its keys are 256 random bits.
    parts = [f"{version}:{keys[version].hex()}" for version in sorted(keys)]
    revision = sha256("\n".join([active, *parts]).encode()).hexdigest()[:12]
    return _Ring(
        active,
        {version: AESGCM(_derived(key, "seal")) for version, key in keys.items()},
        {version: _derived(key, "hash") for version, key in keys.items()},
        revision,
    )


def _derived(key: bytes, use: str) -> bytes:
    """Return a key for one use (RFC 5869; the ring's keys are uniform, so expanding is enough)."""
    return HKDFExpand(SHA256(), KEY_BYTES, f"ashchat auth {use} v1".encode()).derive(key)


def _bound(version: str, owner: str) -> bytes:
    return f"{version}:{owner}".encode()
