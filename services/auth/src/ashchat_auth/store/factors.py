"""Second factors in the collection `users`: time steps, recovery codes, sealed secrets."""

import re
from collections.abc import AsyncIterator, Sequence

from ashchat_auth.models import Due, RecoveryCode, User
from ashchat_auth.service.resealing import Part
from ashchat_auth.store.base import plain
from ashchat_auth.store.users import LIVING, Document, MongoUsers, conditions, user_of


class MongoFactors(MongoUsers):
    """The second factors of accounts."""

    async def accept_step(self, user_id: str, step: int) -> bool:
        """Accept a time step; False if it is not newer than every accepted one."""
        return await self._update(
            user_id,
            {"two_factor.last_step": {"$lt": step}},
            {"$set": {"two_factor.last_step": step}},
        )

    async def renew_recovery(
        self, user_id: str, epoch: int, codes: Sequence[RecoveryCode], due: Due
    ) -> bool:
        """Replace the recovery codes, which ends challenges; False if the epoch has changed."""
        return await self._update(
            user_id,
            {**conditions({"epoch": epoch}), "two_factor.last_step": {"$exists": True}},
            {
                "$set": {"two_factor.recovery": plain(codes)},
                "$inc": {"challenge_epoch": 1},
            },
            [due],
        )

    async def use_recovery(self, user_id: str, hashes: Sequence[str], due: Due) -> bool:
        """Remove the recovery code with one of these hashes; False if there is none."""
        return await self._update(
            user_id,
            {"two_factor.recovery.hash": {"$in": list(hashes)}},
            {"$pull": {"two_factor.recovery": {"hash": {"$in": list(hashes)}}}},
            [due],
        )

    async def reseal(self, user_id: str, part: Part, before: str, after: str) -> None:
        """Replace a sealed secret by its re-encrypted form."""
        path = f"{part}.secret"
        await self._update(user_id, {path: before}, {"$set": {path: after}})

    async def sealed_under(self, version: str) -> AsyncIterator[User]:
        """Yield the accounts with a secret sealed with a version of the key ring."""
        async for found in self._users.find(_sealed(version)):
            yield user_of(found)

    async def count_sealed(self, version: str) -> int:
        """Return the number of these accounts."""
        return int(await self._users.count_documents(_sealed(version)))


def _sealed(version: str) -> Document:
    by = {"$regex": f"^{re.escape(version)}\\."}
    return {**LIVING, "$or": [{"two_factor.secret": by}, {"enrolment.secret": by}]}
