"""File format of the at-rest key ring, shared by auth and the operator.

The ring is a folder of files: `<version>.key` encrypts and decrypts; `<version>.hash` is what
remains of a deleted key (it still verifies recovery codes, but decrypts nothing); `active` names
the version that encrypts, and `retire` the versions that must not be used any more.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_BYTES: Final = 32
ACTIVE, RETIRE = "active", "retire"
KEY_SUFFIX, HASH_SUFFIX = ".key", ".hash"


def sealing_key(key: bytes) -> bytes:
    """Return the part of a ring's key that encrypts and decrypts."""
    return _derived(key, "seal")


def hashing_key(key: bytes) -> bytes:
    """Return the part of a ring's key that hashes; it does not reveal the key."""
    return _derived(key, "hash")


def revision(files: Mapping[str, str]) -> str:
    """Return an opaque value that changes with the ring; each key is 256 random bits."""
    text = "\n".join(f"{name}:{files[name].strip()}" for name in sorted(files))
    return sha256(text.encode()).hexdigest()[:12]


def _derived(key: bytes, use: str) -> bytes:
    """Return a key for one use (RFC 5869; the keys are uniform, so expanding is enough)."""
    return HKDFExpand(SHA256(), KEY_BYTES, f"ashchat auth {use} v1".encode()).derive(key)
