"""Re-encrypts secrets that are sealed with a retiring key.

Every write is one conditional write of one document, so any number of pods may do this
concurrently, stop anywhere and start again. New secrets are sealed with the active key.

A sealed secret begins with its version, so an index on it finds those of one version in pages,
however many accounts there are. What was re-encrypted is not found again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import structlog

from ashchat_auth.models import KeyRingMissingError, User

Part = Literal["two_factor", "enrolment"]

PARTS: Final[tuple[Part, ...]] = ("two_factor", "enrolment")

PAGE_ACCOUNTS: Final = 100
"""Maximum accounts per query."""

COUNTED_MAX: Final = 10_000
"""Maximum number that a count returns: it must end before the socket's time limit."""


class Sealed(Protocol):
    """Finds and replaces sealed secrets; see `store.MongoFactors`."""

    async def sealed_page(self, part: Part, version: str, after: str) -> Sequence[User]:
        """Return a page of the accounts whose secret was sealed with a version of the key ring.

        Args:
            part: The secret.
            version: The version.
            after: The last secret of the previous page; empty for the first page.
        """

    async def count_sealed(self, part: Part, version: str) -> int:
        """Return the number of these accounts, at most COUNTED_MAX."""

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
        """Re-encrypt what is necessary; return the number of remaining secrets of each version.

        Raises:
            KeyRingMissingError: there is no usable ring.
        """
        for version in self.ring.retiring():
            for part in PARTS:
                count = await self._all(part, version)
                if count:
                    self._log.info("re-encrypted", version=version, part=part, accounts=count)
        return {
            version: sum([await self.store.count_sealed(part, version) for part in PARTS])
            for version in self.ring.versions()
        }

    async def _all(self, part: Part, version: str) -> int:
        """Re-encrypt everything of a version; return the number."""
        count, after = 0, ""
        while page := await self.store.sealed_page(part, version, after):
            for user in page:
                after = _sealed(user, part)
                count += await self._one(user, part, after)
        return count

    async def _one(self, user: User, part: Part, sealed: str) -> bool:
        try:
            fresh = self.ring.seal(self.ring.open(sealed, user.id), user.id)
        except KeyRingMissingError:
            # The operator keeps the key while this does not decrypt. The exception's text
            # is not logged, because it could contain the secret.
            self._log.error("a sealed secret does not decrypt", user=user.id, part=part)
            return False
        await self.store.reseal(user.id, part, sealed, fresh)
        return True


def _sealed(user: User, part: Part) -> str:
    found = user.two_factor if part == "two_factor" else user.enrolment
    return found.secret if found else ""
