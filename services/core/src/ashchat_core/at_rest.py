"""What auth and the operator have to say alike about the key ring for secrets at rest.

The ring is a folder of files: `<version>.key` seals and opens, `<version>.hash` is what is
left of a key that is gone (it still tells recovery codes, and opens nothing), `active` names
the version that seals, `retire` the versions that nothing may be sealed with any more.
"""

from collections.abc import Mapping
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_BYTES = 32
ACTIVE, RETIRE = "active", "retire"
KEY_SUFFIX, HASH_SUFFIX = ".key", ".hash"


def sealing_key(key: bytes) -> bytes:
    """Return what of a ring's key seals and opens."""
    return _derived(key, "seal")


def hashing_key(key: bytes) -> bytes:
    """Return what of a ring's key hashes; the key cannot be told from it."""
    return _derived(key, "hash")


def revision(files: Mapping[str, str]) -> str:
    """Return a word that changes with the ring and says nothing about it: 256 random bits a key."""
    text = "\n".join(f"{name}:{files[name].strip()}" for name in sorted(files))
    return sha256(text.encode()).hexdigest()[:12]


def _derived(key: bytes, use: str) -> bytes:
    """Return a key for one use (RFC 5869; the ring's keys are uniform, so expanding is enough)."""
    return HKDFExpand(SHA256(), KEY_BYTES, f"ashchat auth {use} v1".encode()).derive(key)
