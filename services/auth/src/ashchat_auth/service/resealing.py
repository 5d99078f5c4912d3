"""Re-encrypts secrets that are sealed with a retiring key.

Every write is one conditional write of one document, so any number of pods may do this
concurrently, stop anywhere and start again. New secrets are sealed with the active key.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import structlog

from ashchat_auth.models import KeyRingMissingError, User

Part = Literal["two_factor", "enrolment"]


class Sealed(Protocol):
    """Finds and replaces sealed secrets; see `store.MongoFactors`."""

    def sealed_under(self, version: str) -> AsyncIterator[User]:
        """Yield the accounts with a secret sealed with a version of the key ring."""

    async def count_sealed(self, version: str) -> int:
        """Return the number of these accounts."""

    async def reseal(self, user_id: str, part: Part, before: str, after: str) -> None:
        """Replace a sealed secret by its re-encrypted form."""


class Ring(Protocol):
    """The key ring; see `vault.Vault`. Each raises KeyRingMissingError."""

    def versions(self) -> tuple[str, ...]:
        """Return the versions that decrypt."""

    def retiring(self) -> tuple[str, ...]:
        """Return the versions that must not be used any more."""

    def seal(self, secret: bytes, owner: str) -> str:
        """Encrypt for one owner."""

    def open(self, sealed: str, owner: str) -> bytes:
        """Decrypt what was sealed for this owner."""


@dataclass(frozen=True, slots=True)
class Resealing:
    """Re-encrypts everything that is sealed with a retiring version."""

    store: Sealed
    ring: Ring
    _log: structlog.stdlib.BoundLogger = field(
        default_factory=lambda: structlog.get_logger("resealing")
    )

    async def run(self) -> dict[str, int]:
        """Re-encrypt what is necessary; return the remaining accounts of each version.

        Raises:
            KeyRingMissingError: there is no usable ring.
        """
        for version in self.ring.retiring():
            count = 0
            async for user in self.store.sealed_under(version):
                count += await self._one(user, version)
            if count:
                self._log.info("re-encrypted", version=version, accounts=count)
        return {version: await self.store.count_sealed(version) for version in self.ring.versions()}

    async def _one(self, user: User, version: str) -> bool:
        parts: tuple[tuple[Part, str | None], ...] = (
            ("two_factor", user.two_factor.secret if user.two_factor else None),
            ("enrolment", user.enrolment.secret if user.enrolment else None),
        )
        moved = True
        for part, sealed in parts:
            if sealed is None or sealed.partition(".")[0] != version:
                continue
            try:
                after = self.ring.seal(self.ring.open(sealed, user.id), user.id)
            except KeyRingMissingError:
                # The operator keeps the key while this does not decrypt. The exception's text
                # is not logged, because it could contain the secret.
                self._log.error("a sealed secret does not decrypt", user=user.id, part=part)
                moved = False
                continue
            await self.store.reseal(user.id, part, sealed, after)
        return moved
