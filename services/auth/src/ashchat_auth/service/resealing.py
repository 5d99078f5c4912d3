"""Sealing anew what is sealed with a key that is to go.

Every write is one conditional write of one document, so any number of pods may do it at a
time, stop anywhere and begin again. What is sealed meanwhile is sealed with the active key.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import structlog

from ashchat_auth.models import RingMissing, User

Part = Literal["two_factor", "enrolment"]


class Sealed(Protocol):
    """What the store tells of sealed secrets; see `store.MongoUsers`."""

    def sealed_under(self, version: str) -> AsyncIterator[User]:
        """Yield the accounts with a secret sealed with a version of the key ring."""

    async def count_sealed(self, version: str) -> int:
        """Return how many accounts those are."""

    async def reseal(self, user_id: str, part: Part, before: str, after: str) -> None:
        """Put a secret that was sealed anew in the place of the former."""


class Ring(Protocol):
    """The key ring; see `vault.Vault`. Each raises RingMissing."""

    def versions(self) -> tuple[str, ...]:
        """Return the versions that open."""

    def retiring(self) -> tuple[str, ...]:
        """Return the versions that nothing may be sealed with any more."""

    def seal(self, secret: bytes, owner: str) -> str:
        """Encrypt for one owner."""

    def open(self, sealed: str, owner: str) -> bytes:
        """Decrypt what was sealed for this owner."""


@dataclass(frozen=True, slots=True)
class Resealing:
    """Empties the versions that are to go."""

    store: Sealed
    ring: Ring
    _log: structlog.stdlib.BoundLogger = field(
        default_factory=lambda: structlog.get_logger("resealing")
    )

    async def run(self) -> dict[str, int]:
        """Seal anew what has to be; return for each version how many accounts are left.

        Raises:
            RingMissing: there is no usable ring.
        """
        for version in self.ring.retiring():
            count = 0
            async for user in self.store.sealed_under(version):
                count += await self._one(user, version)
            if count:
                self._log.info("sealed anew", version=version, accounts=count)
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
            except RingMissing:
                # Its key stays for as long as this does not open; without the exception's
                # text, which could show what is sealed.
                self._log.error("a sealed secret does not open", user=user.id, part=part)
                moved = False
                continue
            await self.store.reseal(user.id, part, sealed, after)
        return moved
