"""The store of chat in MongoDB: single-document writes and unique indexes, nothing more.

No transactions and no change streams, so that FerretDB serves as well. Collections:

* `events`: the log. Unique (room, rev) is the order; unique (room, sender, client_id)
  makes a send idempotent. `translate` marks what the broker has not confirmed.
* `rooms`: who is in a room (unique `pair` for direct ones), and how far it is projected.
  `erasing` lists whose messages are still to be erased there.
* `messages`: a projection of the log, one document a message.
* `profiles`: people; `devices`: what to push to, one document a person.
* `graves`: the placeholders of deleted accounts, so that none comes back.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from pymongo import ReplaceOne, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, PyMongoError

from ashchat_chat.adapters.mongo_bulk import Appends
from ashchat_chat.rooms.events import AnyEvent, Sent, parse
from ashchat_chat.rooms.ports import ConflictError, Profile, RoomRecord, StoreUnavailableError
from ashchat_chat.rooms.views import MessageView, RoomView
from ashchat_chat.users.profiles import Device
from ashchat_core import languages
from ashchat_core.mongo import Mongo, unavailable

Collection = AsyncCollection[dict[str, Any]]

OR_MAX = 200
"""Rooms in one `$or`."""

ERASING_MAX = 100
"""Rooms that are erased before the next are looked for."""

ORDERED = ("nickname", "language")
"""Fields of a profile that auth changes too: each with the time of its value, `<field>_at`."""


@asynccontextmanager
async def _store() -> AsyncIterator[None]:
    """Translate driver errors into domain errors.

    Raises:
        ConflictError: a unique index said no.
        StoreUnavailableError: the server is away.
    """
    try:
        yield
    except DuplicateKeyError as error:
        raise ConflictError from error
    except PyMongoError as error:
        if unavailable(error):
            raise StoreUnavailableError(type(error).__name__) from error
        raise


class Store:
    """Everything chat keeps."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._appends = Appends(lambda: self._events)

    async def create_indexes(self) -> None:
        """Create what is not there; the same call changes nothing the second time."""
        events, rooms = self._events, self._rooms
        await events.create_index([("room", 1), ("rev", 1)], unique=True, name="room_rev")
        await events.create_index(
            [("room", 1), ("sender", 1), ("client_id", 1)],
            unique=True,
            name="room_sender_client_id",
            partialFilterExpression={"client_id": {"$exists": True}},
        )
        await events.create_index(
            [("translate", 1)],
            name="outbox",
            partialFilterExpression={"translate": {"$exists": True}},
        )
        await rooms.create_index(
            [("pair", 1)],
            unique=True,
            name="pair",
            partialFilterExpression={"pair": {"$exists": True}},
        )
        await rooms.create_index([("members", 1)], name="members")
        await rooms.create_index(
            [("erasing", 1)],
            name="erasing",
            partialFilterExpression={"erasing": {"$exists": True}},
        )
        await self._messages.create_index([("room", 1), ("rev", 1)], unique=True, name="room_rev")
        await self._profiles.create_index([("tag", 1)], unique=True, name="tag")

    # The log

    async def insert(self, event: AnyEvent) -> None:
        """Commit an event. Raises ConflictError: its revision or its client's id is taken."""
        document = event.model_dump(exclude_none=True)
        if isinstance(event, Sent) and event.targets:
            document["translate"] = event.at
        await self._appends.insert(document)

    async def by_client_id(self, room: str, sender: str, client_id: str) -> AnyEvent | None:
        """Return the event of a sender's own id."""
        async with _store():
            found = await self._events.find_one(
                {"room": room, "sender": sender, "client_id": client_id}
            )
        return _event(found) if found else None

    async def at(self, room: str, rev: int) -> AnyEvent | None:
        """Return one event."""
        async with _store():
            found = await self._events.find_one({"room": room, "rev": rev})
        return _event(found) if found else None

    async def after(self, revs: Mapping[str, int], limit: int) -> list[AnyEvent]:
        """Return the events after these revisions, by room and revision, at most `limit`."""
        result: list[AnyEvent] = []
        pairs = list(revs.items())
        for start in range(0, len(pairs), OR_MAX):
            wanted: list[dict[str, Any]] = [
                {"room": room, "rev": {"$gt": rev}} for room, rev in pairs[start : start + OR_MAX]
            ]
            query = wanted[0] if len(wanted) == 1 else {"$or": wanted}
            async with _store():
                found = await (
                    self._events.find(query)
                    .sort([("room", 1), ("rev", 1)])
                    .limit(limit - len(result))
                    .to_list()
                )
            result += [_event(document) for document in found]
            if len(result) >= limit:
                break
        return result

    async def untranslated(self, before: datetime, limit: int) -> list[Sent]:
        """Return messages whose translation job the broker has not confirmed."""
        async with _store():
            found = await self._events.find({"translate": {"$lt": before}}).limit(limit).to_list()
        return [event for event in map(_event, found) if isinstance(event, Sent)]

    async def translation_requested(self, event: Sent) -> None:
        """Keep that the broker has confirmed a message's translation job."""
        async with _store():
            await self._events.update_one(
                {"room": event.room, "rev": event.rev}, {"$unset": {"translate": ""}}
            )

    # Rooms and projections

    async def room(self, room: str) -> RoomRecord | None:
        """Return a room."""
        async with _store():
            found = await self._rooms.find_one({"_id": room})
        return _room(found) if found else None

    async def rooms_of(self, user_id: str, limit: int) -> list[tuple[RoomRecord, int]]:
        """Return a user's rooms, most recently active first, each with its notification cursor."""
        async with _store():
            found = await (
                self._rooms.find({"members": user_id}).sort("active_at", -1).limit(limit).to_list()
            )
        return [(_room(one), int(one.get("notified", {}).get(user_id, 0))) for one in found]

    async def contacts(self, user_id: str) -> set[str]:
        """Return the users who share a room with a user."""
        async with _store():
            found = await self._rooms.find({"members": user_id}, {"members": 1}).to_list()
        return {member for one in found for member in one["members"]} - {user_id}

    async def add_direct_room(self, room: str, members: tuple[str, str], at: datetime) -> None:
        """Keep a new room of two. Raises ConflictError: the two have one."""
        async with _store():
            await self._rooms.insert_one(
                {
                    "_id": room,
                    "kind": "direct",
                    "pair": _pair(members),
                    "members": list(members),
                    "projected": 0,
                    "created_at": at,
                    "active_at": at,
                }
            )

    async def direct_room(self, members: tuple[str, str]) -> str | None:
        """Return the room of two people."""
        async with _store():
            found = await self._rooms.find_one({"pair": _pair(members)}, {"_id": 1})
        return str(found["_id"]) if found else None

    async def project(
        self, view: RoomView, messages: Sequence[MessageView], active_at: datetime | None
    ) -> None:
        """Write projections that are valid for the log up to `view.rev`.

        Messages first: a room that says `projected` has them all. An older projection of
        another pod that comes late changes nothing: what it writes is contained in this.
        """
        writes = [
            UpdateOne(
                {"_id": message.id},
                {"$setOnInsert": message.model_dump(exclude={"translations"})},
                upsert=True,
            )
            for message in messages
        ]
        # Apart, and not to what was erased since the log was read.
        writes += [
            UpdateOne(
                {"_id": message.id, "erased": {"$ne": True}},
                {
                    "$set": {
                        f"translations.{target}": translation.model_dump()
                        for target, translation in message.translations.items()
                    }
                },
            )
            for message in messages
            if message.translations
        ]
        raised: dict[str, Any] = {f"reads.{user}": rev for user, rev in view.reads.items()}
        if active_at is not None:
            raised["active_at"] = active_at
        async with _store():
            if writes:
                await self._messages.bulk_write(writes)
            await self._rooms.update_one(
                {"_id": view.room, "projected": {"$lt": view.rev}},
                {
                    "$set": {"projected": view.rev, "members": list(view.members)},
                    "$max": raised or {"active_at": datetime.fromtimestamp(0, UTC)},
                },
            )

    async def messages(self, room: str, revs: Sequence[int]) -> list[MessageView]:
        """Return projected messages by their revisions."""
        async with _store():
            found = await self._messages.find({"room": room, "rev": {"$in": list(revs)}}).to_list()
        return [_message(one) for one in found]

    async def window(self, floors: Mapping[str, int]) -> dict[str, list[MessageView]]:
        """Return projected messages after these revisions, by room, oldest first."""
        result: dict[str, list[MessageView]] = {}
        wanted = [{"room": room, "rev": {"$gt": rev}} for room, rev in floors.items()]
        async with _store():
            found = self._messages.find({"$or": wanted}).sort([("room", 1), ("rev", 1)])
            async for one in found:
                result.setdefault(one["room"], []).append(_message(one))
        return result

    async def page(self, room: str, before: int, limit: int) -> list[MessageView]:
        """Return the last projected messages before a revision, oldest first."""
        async with _store():
            found = await (
                self._messages.find({"room": room, "rev": {"$lt": before}})
                .sort("rev", -1)
                .limit(limit)
                .to_list()
            )
        return [_message(one) for one in reversed(found)]

    async def notified(self, room: str, user: str, rev: int) -> None:
        """Record that a user was shown a room's messages up to a revision."""
        async with _store():
            # Who is no member any more has no cursor either.
            await self._rooms.update_one(
                {"_id": room, "members": user}, {"$max": {f"notified.{user}": rev}}
            )

    # Profiles

    async def add_profile(self, profile: Profile) -> None:
        """Keep a new profile. Raises ConflictError: the tag (or the person) is there."""
        async with _store():
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
            async with _store():
                await self._devices.update_one(
                    {"_id": user_id, "version": {"$lt": version}},
                    {"$set": {"version": version, "devices": found}},
                    upsert=True,
                )

    async def profile(self, user_id: str) -> Profile | None:
        """Return a user's profile."""
        async with _store():
            found = await self._profiles.find_one({"_id": user_id})
        return _profile(found) if found else None

    async def profiles(self, user_ids: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles there are, by id."""
        async with _store():
            found = await self._profiles.find({"_id": {"$in": list(user_ids)}}).to_list()
        return {one["_id"]: _profile(one) for one in found}

    async def by_tag(self, tag: str) -> Profile | None:
        """Return the profile with a tag."""
        async with _store():
            found = await self._profiles.find_one({"tag": tag})
        return _profile(found) if found else None

    async def change(self, user_id: str, at: datetime, **fields: str) -> bool:
        """Change fields of a profile; return False when there is no such profile."""
        times = {f"{name}_at": at for name in fields if name in ORDERED}
        async with _store():
            done = await self._profiles.update_one({"_id": user_id}, {"$set": {**fields, **times}})
        return done.matched_count == 1

    async def change_older(self, user_id: str, at: datetime, **fields: str) -> None:
        """Change those fields of a profile whose values are older; each is one of ORDERED."""
        for name, value in fields.items():
            time = f"{name}_at"
            async with _store():
                await self._profiles.update_one(
                    {"_id": user_id, "$or": [{time: {"$lt": at}}, {time: {"$exists": False}}]},
                    {"$set": {name: value, time: at}},
                )

    async def languages(self, users: Sequence[str]) -> dict[str, str]:
        """Return what people read; who has no profile is left out."""
        async with _store():
            found = await self._profiles.find(
                {"_id": {"$in": list(users)}}, {"language": 1}
            ).to_list()
        return {one["_id"]: one["language"] for one in found}

    # Deleting; each can be done again

    async def bury(self, gone: str, at: datetime) -> None:
        """Record permanently that this placeholder's account was deleted."""
        async with _store():
            await self._graves.update_one(
                {"_id": gone}, {"$setOnInsert": {"deleted_at": at}}, upsert=True
            )

    async def buried(self, gone: Sequence[str]) -> bool:
        """Return whether the account of any of these placeholders was deleted."""
        async with _store():
            return await self._graves.find_one({"_id": {"$in": list(gone)}}) is not None

    async def remove_person(self, user_id: str) -> None:
        """Delete a user's profile and devices."""
        async with _store():
            await self._profiles.delete_one({"_id": user_id})
            await self._devices.delete_one({"_id": user_id})

    async def remove_direct_room(self, room: str, members: tuple[str, str]) -> None:
        """Remove a room in which nothing was said, unless its members have changed."""
        async with _store():
            await self._rooms.delete_one({"_id": room, "pair": _pair(members)})

    async def rooms_to_erase(self, user_id: str, gone: str) -> list[str]:
        """Mark all rooms of a user, and return some that are marked."""
        async with _store():
            await self._rooms.update_many({"members": user_id}, {"$addToSet": {"erasing": gone}})
            found = await self._rooms.find({"erasing": gone}, {"_id": 1}).to_list(ERASING_MAX)
        return [str(one["_id"]) for one in found]

    async def rewrite(self, events: Sequence[AnyEvent]) -> None:
        """Replace the events of the same revisions."""
        writes = [
            ReplaceOne({"room": event.room, "rev": event.rev}, event.model_dump(exclude_none=True))
            for event in events
        ]
        if writes:
            async with _store():
                await self._events.bulk_write(writes, ordered=False)

    async def erase_messages(self, room: str, revs: Sequence[int], gone: str) -> None:
        """Erase projected messages."""
        if not revs:
            return
        async with _store():
            await self._messages.update_many(
                {"room": room, "rev": {"$in": list(revs)}},
                {
                    "$set": {
                        "sender": gone,
                        "text": "",
                        "language": languages.UNKNOWN,
                        "translations": {},
                        "erased": True,
                    }
                },
            )

    async def erased(self, room: str, user_id: str, gone: str) -> None:
        """Take the mark off a room, and what else names that person there."""
        async with _store():
            await self._rooms.update_one(
                {"_id": room},
                {
                    "$unset": {f"reads.{user_id}": "", f"notified.{user_id}": "", "pair": ""},
                    "$pull": {"erasing": gone},
                },
            )

    # Collections

    @property
    def _graves(self) -> Collection:
        return self._mongo.database["graves"]

    @property
    def _events(self) -> Collection:
        return self._mongo.database["events"]

    @property
    def _rooms(self) -> Collection:
        return self._mongo.database["rooms"]

    @property
    def _messages(self) -> Collection:
        return self._mongo.database["messages"]

    @property
    def _devices(self) -> Collection:
        return self._mongo.database["devices"]

    @property
    def _profiles(self) -> Collection:
        return self._mongo.database["profiles"]


def _pair(members: tuple[str, str]) -> str:
    return ":".join(sorted(members))


def _event(document: dict[str, Any]) -> AnyEvent:
    return parse(document)


def _message(document: dict[str, Any]) -> MessageView:
    return MessageView.model_validate(document)


def _room(document: dict[str, Any]) -> RoomRecord:
    members = tuple(document["members"])
    projected = int(document["projected"])
    return RoomRecord(
        room=document["_id"],
        members=members,
        projected=RoomView(
            room=document["_id"],
            rev=projected,
            # Before the log's first event nobody is in it.
            members=members if projected else (),
            reads={user: rev for user, rev in document.get("reads", {}).items() if user in members},
        ),
        active_at=document["active_at"],
    )


def _profile(document: dict[str, Any]) -> Profile:
    return Profile(
        user_id=document["_id"],
        nickname=document["nickname"],
        tag=document["tag"],
        language=document["language"],
        description=document["description"],
        photo_url=document["photo_url"],
    )
