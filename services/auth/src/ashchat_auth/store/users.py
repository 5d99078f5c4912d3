"""Collection `users`: accounts, their devices, second factors and what is due."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError
from pymongo.errors import DuplicateKeyError

from ashchat_auth.models import Due, EmailTakenError, User
from ashchat_auth.service.ports import Changes, Ends, Where
from ashchat_auth.store.base import MongoPart, document, fields, plain

SWEPT_AT_ONCE: Final = 100
"""Maximum accounts per sweep."""

Document = dict[str, Any]

LIVING: Document = {"deleting_since": None}
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
            before = await self._users.find_one({"_id": user.id, **LIVING})
            if before is None:
                raise EmailTakenError from None
            return user_of(before)
        return user

    async def user_by_email(self, key: str) -> User | None:
        """Return the account with an address."""
        found = await self._users.find_one({"email_key": key, **LIVING})
        return user_of(found) if found else None

    async def user(self, user_id: str) -> User | None:
        """Return an account."""
        found = await self._users.find_one({"_id": user_id, **LIVING})
        return user_of(found) if found else None

    async def change(
        self,
        user_id: str,
        changes: Changes,
        *,
        where: Where | None = None,
        ends: Ends = "nothing",
        due: Sequence[Due] = (),
    ) -> bool:
        """Change an account in one write; False if it does not exist or `where` does not hold.

        Raises:
            EmailTakenError: another account has the new address.
        """
        update: Document = {}
        if changes:
            update["$set"] = {key: plain(value) for key, value in changes.items()}
        if ends != "nothing":
            update["$inc"] = {"challenge_epoch": 1}
        if ends == "sessions":
            update["$inc"]["epoch"] = 1
        try:
            return await self._update(user_id, conditions(where or {}), update, due)
        except DuplicateKeyError:
            raise EmailTakenError from None

    async def remove_due(self, user_id: str, due_id: str) -> None:
        """Remove what is done from what is due."""
        await self._users.update_one({"_id": user_id}, {"$pull": {"due": {"id": due_id}}})

    async def overdue(self, before: datetime) -> AsyncIterator[User]:
        """Yield the accounts with something due, or whose deletion began, before a time."""
        late = {"$lt": before}
        cursor = self._users.find({"$or": [{"due.at": late}, {"deleting_since": late}]})
        async for found in cursor.limit(SWEPT_AT_ONCE):
            try:
                user = user_of(found)
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
            update = {**update, "$push": {"due": {"$each": plain(due)}}}
        changed = await self._users.update_one({"_id": user_id, **LIVING, **where}, update)
        return bool(changed.matched_count)

    @property
    def _users(self) -> Any:
        return self._mongo.database["users"]


def conditions(where: Where) -> Document:
    """Return the conditions of a change as a filter."""
    # A missing number counts as 0.
    return {key: {"$in": [0, None]} if value == 0 else value for key, value in where.items()}


def user_of(found: Document) -> User:
    """Return the account that a document stores."""
    return User.model_validate(fields(found))
