"""The key ring for secrets at rest (auth's second factors), which is never generated again.

Every other credential can be replaced when its Secret is lost. Data sealed under a lost key is lost
with it, so the ring is stored twice, completed from its copy, and the status reports a fingerprint
of every key. A key that the status lists and no Secret has is lost: that is reported
(`KeyRingLost`), and no other key replaces it.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from ashchat_core.at_rest import (
    ACTIVE,
    HASH_SUFFIX,
    KEY_BYTES,
    KEY_SUFFIX,
    RETIRE,
    hashing_key,
)
from ashchat_operator.resource.types import Data

FIRST_VERSION: Final = "1"


def new_key() -> str:
    """Return a new key: 32 random bytes, in hex."""
    return secrets.token_hex(KEY_BYTES)


def fingerprint(key: str) -> str:
    """Return a word that identifies a key and reveals nothing about it: keys are random."""
    return hashlib.sha256(f"at rest:{key}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class AtRestKeyRing:
    """The keys by version, the one that seals, and those that are lost."""

    keys: Mapping[str, str] = field(repr=False)
    active: str
    lost: tuple[str, ...] = ()
    """Versions that the status lists and no Secret has."""
    hashes: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Version → the hashing half of a retired key."""
    retire: tuple[str, ...] = ()
    """Versions whose data auth must seal again."""

    @classmethod
    def complete(
        cls, held: Data, copy: Data, known: Mapping[str, str], generate: Callable[[], str] = new_key
    ) -> Self:
        """Return the ring of a Secret and its copy; a first one if there never was any.

        Args:
            held: The Secret's data.
            copy: The copy's data.
            known: Version → fingerprint, of the previous status. A key with another fingerprint is
                ignored: it could not decrypt anything.
            generate: Generates a key.
        """
        keys: dict[str, str] = {}
        for source in (held, copy):
            for version, key in _keys(source, KEY_SUFFIX).items():
                if known.get(version, fingerprint(key)) == fingerprint(key):
                    keys.setdefault(version, key)
        hashes = {**_keys(copy, HASH_SUFFIX), **_keys(held, HASH_SUFFIX)}
        lost = tuple(sorted(version for version in known if version not in keys | hashes))
        if not keys and not lost:
            keys[FIRST_VERSION] = generate()
        named = [_text(source.get(ACTIVE, b"")) for source in (held, copy)]
        active = next((version for version in named if version in keys), "")
        return cls(keys, active or max(keys, key=_order, default=""), lost, hashes)

    def files(self) -> dict[str, bytes]:
        """Return the files that auth mounts; none if every key is lost."""
        if not self.keys:
            return {}
        return {
            **{f"{version}{KEY_SUFFIX}": key.encode() for version, key in self.keys.items()},
            **{f"{version}{HASH_SUFFIX}": key.encode() for version, key in self.hashes.items()},
            **({RETIRE: "\n".join(self.retire).encode()} if self.retire else {}),
            ACTIVE: self.active.encode(),
        }

    def following(self) -> str:
        """Return the version of the next key; no number is used twice."""
        numbers = [int(x) for x in {*self.keys, *self.hashes, *self.lost} if x.isdecimal()]
        return str(max(numbers, default=0) + 1)

    def without_former(self) -> Self:
        """Return the ring with its active key only, and the hashing halves of the others."""
        former = {x: key for x, key in self.keys.items() if x != self.active}
        hashes = {x: hashing_key(bytes.fromhex(key)).hex() for x, key in former.items()}
        keys = {x: key for x, key in self.keys.items() if x == self.active}
        return replace(self, keys=keys, hashes={**self.hashes, **hashes})

    def fingerprints(self, known: Mapping[str, str]) -> dict[str, str]:
        """Return the fingerprints for the status, including the known ones of lost keys."""
        lost = {version: known[version] for version in self.lost}
        return lost | {version: fingerprint(key) for version, key in self.keys.items()}


def _keys(data: Data, suffix: str) -> dict[str, str]:
    """Return the keys in a Secret by version; invalid ones are left out."""
    found = {}
    for name, raw in data.items():
        version, key = name.removesuffix(suffix), _text(raw)
        if not name.endswith(suffix) or not version:
            continue
        try:
            if len(bytes.fromhex(key)) == KEY_BYTES:
                found[version] = key
        except ValueError:
            continue
    return found


def _text(raw: bytes) -> str:
    return raw.decode("ascii", "ignore").strip()


def _order(version: str) -> tuple[int, str]:
    return (len(version), version)
