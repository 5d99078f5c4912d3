"""Profiles and devices in MongoDB, and the placeholders of deleted accounts."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pymongo import UpdateOne

from ashchat_chat.adapters.grouped_reads import GroupedReads
from ashchat_chat.adapters.mongo_errors import Collection, domain_errors
from ashchat_chat.rooms.ports import ConflictError, Profile
from ashchat_chat.users.profiles import Device
from ashchat_core.mongo import Mongo

PROFILES_MAX = 500
"""Maximum profiles in one read."""

ORDERED = ("nickname", "language")
"""Fields of a profile that auth changes too: each with the time of its value, `<field>_at`."""


class MongoProfiles:
    """The collections `profiles`, `devices` and `graves`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._profile_reads = GroupedReads(self.profiles, largest=PROFILES_MAX)

    async def create_profile_indexes(self) -> None:
        """Create the indexes that are missing."""
        await self._profiles.create_index([("tag", 1)], unique=True, name="tag")

    async def add_profile(self, profile: Profile) -> None:
        """Keep a new profile. Raises ConflictError: the tag (or the person) is there."""
        async with domain_errors():
            await self._profiles.insert_one(
                {
                    "_id": profile.user_id,
                    "nickname": profile.nickname,
                    "tag": profile.tag,
                    "language": profile.language,
                    "description": profile.description,
                    "photo_url": profile.photo_url,
                    "created_at": datetime.now(UTC),
                }
            )

    async def set_devices(self, user_id: str, version: int, devices: Sequence[Device]) -> None:
        """Store an account's devices; the newest version wins. Its profile may come later."""
        found = [{"hash": one.token_hash, "push": one.notification_token} for one in devices]
        with suppress(ConflictError):  # a newer version is stored
            async with domain_errors():
                await self._devices.update_one(
                    {"_id": user_id, "version": {"$lt": version}},
                    {"$set": {"version": version, "devices": found}},
                    upsert=True,
                )

    async def profile(self, user_id: str) -> Profile | None:
        """Return a user's profile."""
        return await self._profile_reads.get(user_id)

    async def profiles(self, user_ids: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles there are, by id."""
        async with domain_errors():
            found = await self._profiles.find({"_id": {"$in": list(user_ids)}}).to_list()
        return {one["_id"]: _profile(one) for one in found}

    async def by_tags(self, tags: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles with these tags, by tag."""
        async with domain_errors():
            found = await self._profiles.find({"tag": {"$in": list(tags)}}).to_list()
        return {one["tag"]: _profile(one) for one in found}

    async def by_tag(self, tag: str) -> Profile | None:
        """Return the profile with a tag."""
        async with domain_errors():
            found = await self._profiles.find_one({"tag": tag})
        return _profile(found) if found else None

    async def change(self, user_id: str, at: datetime, **fields: str) -> bool:
        """Change fields of a profile; return False when there is no such profile."""
        times = {f"{name}_at": at for name in fields if name in ORDERED}
        async with domain_errors():
            done = await self._profiles.update_one({"_id": user_id}, {"$set": {**fields, **times}})
        return done.matched_count == 1

    async def change_older(self, user_id: str, at: datetime, **fields: str) -> None:
        """Change those fields of a profile whose values are older; each is one of ORDERED."""
        for name, value in fields.items():
            time = f"{name}_at"
            async with domain_errors():
                await self._profiles.update_one(
                    {"_id": user_id, "$or": [{time: {"$lt": at}}, {time: {"$exists": False}}]},
                    {"$set": {name: value, time: at}},
                )

    async def languages(self, users: Sequence[str]) -> dict[str, str]:
        """Return what people read; who has no profile is left out."""
        async with domain_errors():
            found = await self._profiles.find(
                {"_id": {"$in": list(users)}}, {"language": 1}
            ).to_list()
        return {one["_id"]: one["language"] for one in found}

    async def raise_last_seen(self, times: Mapping[str, datetime]) -> None:
        """Store when users were last seen, unless a later time is stored."""
        writes = [
            UpdateOne({"_id": user}, {"$max": {"last_seen_at": times[user]}}) for user in times
        ]
        async with domain_errors():
            await self._profiles.bulk_write(writes, ordered=False)

    async def last_seen(self, users: Sequence[str]) -> dict[str, datetime]:
        """Return when users were last seen; a user who never was is left out."""
        async with domain_errors():
            found = await self._profiles.find(
                {"_id": {"$in": list(users)}}, {"last_seen_at": 1}
            ).to_list()
        return {one["_id"]: one["last_seen_at"] for one in found if "last_seen_at" in one}

    async def bury(self, gone: str, at: datetime) -> None:
        """Record permanently that this placeholder's account was deleted."""
        async with domain_errors():
            await self._graves.update_one(
                {"_id": gone}, {"$setOnInsert": {"deleted_at": at}}, upsert=True
            )

    async def buried(self, gone: Sequence[str]) -> bool:
        """Return whether the account of any of these placeholders was deleted."""
        async with domain_errors():
            return await self._graves.find_one({"_id": {"$in": list(gone)}}) is not None

    async def remove_person(self, user_id: str) -> None:
        """Delete a user's profile and devices."""
        async with domain_errors():
            await self._profiles.delete_one({"_id": user_id})
            await self._devices.delete_one({"_id": user_id})

    @property
    def _graves(self) -> Collection:
        return self._mongo.database["graves"]

    @property
    def _devices(self) -> Collection:
        return self._mongo.database["devices"]

    @property
    def _profiles(self) -> Collection:
        return self._mongo.database["profiles"]


def _profile(document: dict[str, Any]) -> Profile:
    return Profile(
        user_id=document["_id"],
        nickname=document["nickname"],
        tag=document["tag"],
        language=document["language"],
        description=document["description"],
        photo_url=document["photo_url"],
        last_seen_at=document.get("last_seen_at"),
    )
