"""Collection `users`: accounts, their devices, second factors and what is due."""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError
from pymongo.errors import DuplicateKeyError

from ashchat_auth.models import Device, Due, EmailTakenError, RecoveryCode, User
from ashchat_auth.service.ports import Changes, Where
from ashchat_auth.service.resealing import Part
from ashchat_auth.store.base import MongoPart, document, fields, plain

DEVICES_MAX: Final = 100
"""Maximum devices per account; the oldest are removed beyond that."""

SWEPT_AT_ONCE: Final = 100
"""Maximum accounts per sweep."""

Document = dict[str, Any]

_LIVING: Document = {"deleting_since": None}
"""Also matches documents without the field."""


class MongoUsers(MongoPart):
    """Accounts. The unique index on `email_key` gives an address to one account only."""

    async def add_user(self, user: User) -> User:
        """Store a user; storing it again returns the stored one.

        Raises:
            EmailTakenError: another account has the address.
        """
        try:
            await self._users.insert_one(document(user))
        except DuplicateKeyError:
            before = await self._users.find_one({"_id": user.id, **_LIVING})
            if before is None:
                raise EmailTakenError from None
            return _user(before)
        return user

    async def user_by_email(self, key: str) -> User | None:
        """Return the account with an address."""
        found = await self._users.find_one({"email_key": key, **_LIVING})
        return _user(found) if found else None

    async def user(self, user_id: str) -> User | None:
        """Return an account."""
        found = await self._users.find_one({"_id": user_id, **_LIVING})
        return _user(found) if found else None

    async def change(
        self,
        user_id: str,
        changes: Changes,
        *,
        where: Where | None = None,
        new_epoch: bool = False,
        due: Sequence[Due] = (),
    ) -> bool:
        """Change an account in one write; False if it does not exist or `where` does not hold.

        Raises:
            EmailTakenError: another account has the new address.
        """
        update: Document = {}
        if changes:
            update["$set"] = {key: plain(value) for key, value in changes.items()}
        if new_epoch:
            update["$inc"] = {"epoch": 1}
        try:
            return await self._update(user_id, _conditions(where or {}), update, due)
        except DuplicateKeyError:
            raise EmailTakenError from None

    async def add_device(self, user_id: str, device: Device, due: Due) -> bool:
        """Add a confirmed device; False if it is known or the account does not exist."""
        push = {"$each": [plain(device)], "$slice": -DEVICES_MAX}
        return await self._update(
            user_id,
            {"devices.device_hash": {"$ne": device.device_hash}},
            {"$push": {"devices": push}},
            [due],
        )

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
        """Replace the recovery codes; False if the epoch has changed."""
        return await self._update(
            user_id,
            {**_conditions({"epoch": epoch}), "two_factor.last_step": {"$exists": True}},
            {"$set": {"two_factor.recovery": plain(codes)}},
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
            yield _user(found)

    async def count_sealed(self, version: str) -> int:
        """Return the number of these accounts."""
        return int(await self._users.count_documents(_sealed(version)))

    async def remove_due(self, user_id: str, due_id: str) -> None:
        """Remove what is done from what is due."""
        await self._users.update_one({"_id": user_id}, {"$pull": {"due": {"id": due_id}}})

    async def overdue(self, before: datetime) -> AsyncIterator[User]:
        """Yield the accounts with something due, or whose deletion began, before a time."""
        late = {"$lt": before}
        cursor = self._users.find({"$or": [{"due.at": late}, {"deleting_since": late}]})
        async for found in cursor.limit(SWEPT_AT_ONCE):
            try:
                user = _user(found)
            except ValidationError:
                structlog.get_logger("store").error("an account cannot be read", user=found["_id"])
            else:
                yield user

    async def delete_user(self, user_id: str) -> bool:
        """Delete an account whose deletion began; False if something is still due."""
        deleted = await self._users.delete_one(
            {"_id": user_id, "deleting_since": {"$ne": None}, "due": []}
        )
        return bool(deleted.deleted_count)

    async def _update(
        self, user_id: str, where: Document, update: Document, due: Sequence[Due] = ()
    ) -> bool:
        if due:
            push = {**update.get("$push", {}), "due": {"$each": plain(due)}}
            update = {**update, "$push": push}
        changed = await self._users.update_one({"_id": user_id, **_LIVING, **where}, update)
        return bool(changed.matched_count)

    @property
    def _users(self) -> Any:
        return self._mongo.database["users"]


def _conditions(where: Where) -> Document:
    # A missing epoch counts as 0.
    return {
        key: {"$in": [0, None]} if key == "epoch" and value == 0 else value
        for key, value in where.items()
    }


def _sealed(version: str) -> Document:
    by = {"$regex": f"^{re.escape(version)}\\."}
    return {**_LIVING, "$or": [{"two_factor.secret": by}, {"enrolment.secret": by}]}


def _user(found: Document) -> User:
    return User.model_validate(fields(found))
