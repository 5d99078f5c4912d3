"""Users and sessions in MongoDB. Uniqueness is the index's, never read-then-write."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

import structlog
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from ashchat_auth.models import Device, DeviceAdded, EmailTaken, Session, User
from ashchat_core.mongo import Mongo

GRACE_SECONDS = 10
"""How long a lost answer to a refresh may be asked for again."""

SIBLINGS = 3
"""How many refresh tokens of one session are good at once, after lost answers."""

SPENT_REMEMBERED = 50
"""How many used refresh tokens of a session are known as such; older ones are just wrong."""


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


class MongoStore:
    """MongoDB database `auth`: collections `users` and `sessions`.

    A user has `outbox_since` as long as RabbitMQ has not confirmed what has to be told of it.
    """

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._log = structlog.get_logger("store")

    async def create_indexes(self) -> None:
        """Make the indexes; nothing happens when they are there."""
        users, sessions = self._mongo.database["users"], self._mongo.database["sessions"]
        await users.create_index("email_key", unique=True)
        await users.create_index("outbox_since")
        await sessions.create_index("user_id")
        await sessions.create_index("expires_at", expireAfterSeconds=0)

    # users

    async def add_user(self, user: User, device: Device) -> User:
        """Store a user, marked as not yet announced; the same one again is the same.

        Raises:
            EmailTaken: another account has the address.
        """
        users = self._mongo.database["users"]
        document = {
            "_id": user.id,
            **user.model_dump(exclude={"id"}),
            "devices": [device.model_dump()],
            "outbox_since": user.created_at,
        }
        try:
            await users.insert_one(document)
        except DuplicateKeyError:
            before = await users.find_one({"_id": user.id})
            if before is None:
                raise EmailTaken from None
            return _user(before)
        return user

    async def user_by_email(self, key: str) -> User | None:
        """Return the account of an address."""
        found = await self._mongo.database["users"].find_one({"email_key": key})
        return _user(found) if found else None

    async def user(self, user_id: str) -> User | None:
        """Return an account."""
        found = await self._mongo.database["users"].find_one({"_id": user_id})
        return _user(found) if found else None

    async def knows_device(self, user_id: str, device_hash: str) -> bool:
        """Tell whether this device of the account was confirmed."""
        found = await self._mongo.database["users"].find_one(
            {"_id": user_id, "devices.device_hash": device_hash}, {"_id": 1}
        )
        return found is not None

    async def add_device(self, user_id: str, device: Device, now: datetime) -> DeviceAdded:
        """Add a confirmed device, marked as not yet announced."""
        users = self._mongo.database["users"]
        before = await users.find_one_and_update(
            {"_id": user_id, "devices.device_hash": {"$ne": device.device_hash}},
            {"$push": {"devices": device.model_dump()}, "$set": {"outbox_since": now}},
            projection={"outbox_since": 1},
            return_document=ReturnDocument.BEFORE,
        )
        if before is not None:
            marked = "outbox_since" in before
            return DeviceAdded.MARKED_WITH_OTHERS if marked else DeviceAdded.MARKED
        known = await users.find_one({"_id": user_id}, {"_id": 1})
        return DeviceAdded.KNOWN if known else DeviceAdded.NO_ACCOUNT

    async def announced(self, user_id: str, since: datetime) -> None:
        """Take the mark off, unless something newer was marked meanwhile."""
        await self._mongo.database["users"].update_one(
            {"_id": user_id, "outbox_since": since}, {"$unset": {"outbox_since": ""}}
        )

    async def unannounced(
        self, before: datetime
    ) -> AsyncIterator[tuple[User, list[Device], datetime]]:
        """Yield the accounts whose mark is older than `before`, with all their devices."""
        cursor = self._mongo.database["users"].find({"outbox_since": {"$lt": before}})
        async for found in cursor.limit(100):
            devices = [Device.model_validate(device) for device in found["devices"]]
            yield _user(found), devices, found["outbox_since"]

    # sessions

    async def add_session(self, session: Session, *, life: timedelta) -> str:
        """Store a session; return its first refresh token (the only time it is seen)."""
        secret = token_urlsafe(32)
        await self._mongo.database["sessions"].insert_one(
            {
                "_id": session.id,
                **session.model_dump(exclude={"id"}),
                "good": [_hash(secret)],
                "spent": [],
                "expires_at": session.created_at + life,
            }
        )
        return f"{session.id}.{secret}"

    async def session_of(self, refresh_token: str, now: datetime) -> Session | None:
        """Return the live session that a refresh token (good or not) belongs to."""
        session_id, _, _ = refresh_token.partition(".")
        # The index that ends sessions runs once a minute: compare here too.
        found = await self._mongo.database["sessions"].find_one(
            {"_id": session_id, "expires_at": {"$gt": now}}
        )
        return _session(found) if found else None

    async def rotate(self, refresh_token: str, *, now: datetime, life: timedelta) -> str | None:
        """Exchange a refresh token for the next one (RFC 9700, section 4.14.2).

        A token that was used before is in two hands: the session is over. But for ten
        seconds it is good for a sibling, since an answer may get lost, and a hash cannot be
        sent again; both siblings are good until one of them is used.

        Returns:
            The next token; None: this one is not good (any more).
        """
        sessions = self._mongo.database["sessions"]
        session_id, _, secret = refresh_token.partition(".")
        given, fresh = _hash(secret), token_urlsafe(32)
        spent = {"hash": given, "at": now}
        rotated = await sessions.update_one(
            {"_id": session_id, "good": given},
            {
                "$set": {"good": [_hash(fresh)], "used_at": now, "expires_at": now + life},
                "$push": {"spent": {"$each": [spent], "$slice": -SPENT_REMEMBERED}},
            },
        )
        if rotated.matched_count:
            return f"{session_id}.{fresh}"
        found = await sessions.find_one({"_id": session_id}, {"spent": 1})
        used = [item["at"] for item in found["spent"] if item["hash"] == given] if found else []
        if not used:
            return None
        if now - used[-1] > timedelta(seconds=GRACE_SECONDS):
            await sessions.delete_one({"_id": session_id})
            self._log.warning("a refresh token was used again", session=session_id)
            return None
        sibling = await sessions.update_one(
            {"_id": session_id},
            {"$push": {"good": {"$each": [_hash(fresh)], "$slice": -SIBLINGS}}},
        )
        return f"{session_id}.{fresh}" if sibling.matched_count else None


def _user(document: dict[str, Any]) -> User:
    return User.model_validate({**document, "id": document["_id"]})


def _session(document: dict[str, Any]) -> Session:
    return Session.model_validate({**document, "id": document["_id"]})
