"""Secrets at rest: sealed with AES-256-GCM under a key ring of versioned keys.

The ring is a folder: `<version>.key` files contain 32 bytes in hex, and `active` names the
version that seals; every version opens. A new key is added and made active, and the old one
stays until nothing is sealed with it any more: `retire` names the versions that
`service.resealing` empties. Of a deleted key, `<version>.hash` may remain. See
`ashchat_core.at_rest`. A copy of the database is useless without the ring.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ashchat_auth.models import KeyRingMissingError
from ashchat_auth.watched_folder import WatchedFolder
from ashchat_core import at_rest
from ashchat_core.at_rest import HASH_SUFFIX, KEY_BYTES, KEY_SUFFIX, RETIRE

NONCE_BYTES: Final = 12
"""Random nonces are safe for 2^32 messages per key (NIST SP 800-38D, 8.3)."""


@dataclass(frozen=True, slots=True)
class _Ring:
    active: str
    sealing: dict[str, AESGCM]
    hashing: dict[str, bytes]
    retiring: tuple[str, ...]
    revision: str


class Vault:
    """Encrypts, decrypts and computes keyed hashes."""

    def __init__(self, folder: Path) -> None:
        self._folder: WatchedFolder[_Ring] = WatchedFolder(folder, "[!.]*", _load)

    def seal(self, secret: bytes, owner: str) -> str:
        """Encrypt for one owner; copied into another owner's record, it does not decrypt.

        Raises:
            KeyRingMissingError: there is no usable ring.
        """
        ring = self._ring()
        nonce = token_bytes(NONCE_BYTES)
        sealed = ring.sealing[ring.active].encrypt(nonce, secret, _bound(ring.active, owner))
        return f"{ring.active}.{urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, owner: str) -> bytes:
        """Decrypt what was sealed for this owner.

        Raises:
            KeyRingMissingError: there is no usable ring, or it lacks the right key.
        """
        version, _, text = sealed.partition(".")
        key = self._ring().sealing.get(version)
        if key is None:
            raise KeyRingMissingError(f"the key ring has no version {version}")
        try:
            raw = urlsafe_b64decode(text)
            return key.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound(version, owner))
        except (InvalidTag, Base64Error, ValueError):
            raise KeyRingMissingError(
                f"version {version} of the key ring does not decrypt this"
            ) from None

    def stale(self, sealed: str) -> bool:
        """Return whether it was sealed with a key other than the active one.

        Raises:
            KeyRingMissingError: there is no usable ring.
        """
        return sealed.partition(".")[0] != self._ring().active

    def versions(self) -> tuple[str, ...]:
        """Return the versions that decrypt.

        Raises:
            KeyRingMissingError: there is no usable ring.
        """
        return tuple(sorted(self._ring().sealing))

    def retiring(self) -> tuple[str, ...]:
        """Return the versions that must not be used any more.

        Raises:
            KeyRingMissingError: there is no usable ring.
        """
        return self._ring().retiring

    def keyed_hashes(self, text: str, owner: str) -> tuple[str, ...]:
        """Return a text's hash with every key of the ring, the active one first.

        Raises:
            KeyRingMissingError: there is no usable ring.
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
        """An opaque value that changes with the ring; empty if there is no ring."""
        try:
            return self._ring().revision
        except KeyRingMissingError:
            return ""

    def _ring(self) -> _Ring:
        try:
            return self._folder.current()
        except (OSError, ValueError, TypeError) as error:
            raise KeyRingMissingError("the key ring is not usable") from error


def _load(paths: list[Path], active: str) -> _Ring:
    files = {path.name: path.read_text() for path in paths if path.is_file()}
    keys = _secrets(files, KEY_SUFFIX)
    if active not in keys:
        raise ValueError("the active key is missing")
    retiring = tuple(v for v in files.get(RETIRE, "").split() if v in keys and v != active)
    left = _secrets(files, HASH_SUFFIX)
    return _Ring(
        active,
        {version: AESGCM(at_rest.sealing_key(key)) for version, key in keys.items()},
        left | {version: at_rest.hashing_key(key) for version, key in keys.items()},
        retiring,
        at_rest.revision(files),
    )


def _secrets(files: dict[str, str], suffix: str) -> dict[str, bytes]:
    found = {
        name.removesuffix(suffix): bytes.fromhex(text.strip())
        for name, text in files.items()
        if name.endswith(suffix)
    }
    if any(len(key) != KEY_BYTES for key in found.values()):
        raise ValueError(f"a key is not {KEY_BYTES} bytes")
    return found


def _bound(version: str, owner: str) -> bytes:
    return f"{version}:{owner}".encode()
