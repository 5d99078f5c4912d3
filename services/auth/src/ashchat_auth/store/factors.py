"""Second factors in the collection `users`: time steps, recovery codes, sealed secrets."""

from collections.abc import Sequence

from ashchat_auth.models import Due, RecoveryCode, User
from ashchat_auth.service.resealing import COUNTED_MAX, PAGE_ACCOUNTS, Part
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

    async def sealed_page(self, part: Part, version: str, after: str) -> Sequence[User]:
        """Return a page of the accounts whose secret was sealed with a version of the key ring."""
        cursor = self._users.find(_sealed(part, version, after)).sort(f"{part}.secret", 1)
        return [user_of(found) async for found in cursor.limit(PAGE_ACCOUNTS)]

    async def count_sealed(self, part: Part, version: str) -> int:
        """Return the number of these accounts, at most COUNTED_MAX."""
        which = _sealed(part, version, "")
        return int(await self._users.count_documents(which, limit=COUNTED_MAX))


def _sealed(part: Part, version: str, after: str) -> Document:
    """Return a filter whose range the index on the secret has."""
    # A secret is "<version>.<text>", and "/" is the character after ".".
    within = {"$gt": after or f"{version}.", "$lt": f"{version}/"}
    return {**LIVING, f"{part}.secret": within}
