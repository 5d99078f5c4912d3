"""Rooms' documents and members' documents in MongoDB."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pymongo import UpdateMany, UpdateOne

from ashchat_chat.adapters.grouped_reads import GroupedReads
from ashchat_chat.adapters.mongo_errors import Collection, conflicts_ignored, domain_errors
from ashchat_chat.rooms.events import Members
from ashchat_chat.rooms.ports import PREVIEW_CHARS, CachedRoom, Membership, Position, Preview
from ashchat_chat.rooms.room_list import Cursor
from ashchat_chat.rooms.views import Role, RoomView
from ashchat_core.mongo import Mongo

ROOMS_MAX = 200
"""Maximum rooms' documents in one read."""

CONTACT_ROOMS_MAX = 200
"""Rooms whose members are a user's contacts: the most recently active ones."""

CONTACT_MEMBERS_MAX = 5_000
"""Members that are read for that."""

CONTACTS_MAX = 1_000
ERASING_MAX = 100
"""Rooms that are erased before the next are looked for."""

LONG_AGO = datetime.fromtimestamp(0, UTC)


class MongoRooms:
    """The collections `rooms` and `members`.

    `rooms`: a view of the room, valid for the log up to `view.rev`; unique `pair` for direct
    rooms. `members`: one document for each user that a room's log has ever named, with the
    user's positions. `rev` is the event that it was written for; `active` whether the user is
    a member.
    """

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._room_reads = GroupedReads(self.rooms, largest=ROOMS_MAX)

    async def create_room_indexes(self) -> None:
        """Create the indexes that are missing."""
        await self._rooms.create_index(
            [("pair", 1)],
            unique=True,
            name="pair",
            partialFilterExpression={"pair": {"$exists": True}},
        )
        await self._members.create_index([("room", 1), ("user", 1)], name="room_user")
        await self._members.create_index(
            [("user", 1), ("active", 1), ("active_at", -1)], name="user_active_at"
        )

    # Rooms

    async def add_direct_room(self, room: str, members: tuple[str, str], at: datetime) -> None:
        """Store a new room of two. Raises ConflictError: the two have one."""
        async with domain_errors():
            await self._rooms.insert_one(
                {
                    "_id": room,
                    "pair": _pair(members),
                    "founding": [
                        {
                            "kind": "members",
                            "changes": [{"user": user, "role": Role.MEMBER} for user in members],
                        }
                    ],
                    "view": RoomView(room=room).model_dump(),
                    "created_at": at,
                    "active_at": at,
                }
            )

    async def add_group(
        self, room: str, founding: Sequence[Mapping[str, Any]], at: datetime
    ) -> None:
        """Store a new group. Raises ConflictError: the room exists."""
        async with domain_errors():
            await self._rooms.insert_one(
                {
                    "_id": room,
                    "founding": [dict(one) for one in founding],
                    "view": RoomView(room=room, kind="group").model_dump(),
                    "created_at": at,
                    "active_at": at,
                }
            )

    async def set_preview(self, room: str, n: int, text: str) -> None:
        """Change the text of a room's preview, if it is that of a message."""
        async with domain_errors():
            await self._rooms.update_one(
                {"_id": room, "preview.n": n}, {"$set": {"preview.text": text[:PREVIEW_CHARS]}}
            )

    async def direct_room(self, members: tuple[str, str]) -> str | None:
        """Return the room of two users."""
        async with domain_errors():
            found = await self._rooms.find_one({"pair": _pair(members)}, {"_id": 1})
        return str(found["_id"]) if found else None

    async def remove_direct_room(self, room: str, members: tuple[str, str]) -> None:
        """Remove a room in which nothing was said, unless its members have changed."""
        async with domain_errors():
            await self._rooms.delete_one({"_id": room, "pair": _pair(members)})

    async def room(self, room: str) -> CachedRoom | None:
        """Return a room's document."""
        return await self._room_reads.get(room)

    async def rooms(self, rooms: Sequence[str]) -> dict[str, CachedRoom]:
        """Return rooms' documents, by room."""
        async with domain_errors():
            found = await self._rooms.find({"_id": {"$in": list(rooms)}}).to_list()
        return {one["_id"]: _cached(one) for one in found}

    async def cache(self, rooms: Sequence[CachedRoom]) -> None:
        """Write rooms' documents, each unless it has a newer revision."""
        if not rooms:
            return
        async with domain_errors():
            await self._members.bulk_write(
                [
                    UpdateMany(
                        {"room": one.view.room, "active": True},
                        {"$max": {"active_at": one.active_at}},
                    )
                    for one in rooms
                ],
                ordered=False,
            )
            await self._rooms.bulk_write(
                [
                    UpdateOne(
                        {"_id": one.view.room, "view.rev": {"$lt": one.view.rev}},
                        {
                            "$set": {
                                "view": one.view.model_dump(),
                                **({"preview": asdict(one.preview)} if one.preview else {}),
                            },
                            # The last of the first events makes the members.
                            **({"$unset": {"founding": ""}} if one.view.members else {}),
                            "$max": {"active_at": one.active_at},
                        },
                    )
                    for one in rooms
                ],
                ordered=False,
            )

    # Members

    async def prepare_members(self, room: str, users: Sequence[str]) -> None:
        """Make sure that each user has a document in a room, before its log names the user."""
        async with domain_errors(), conflicts_ignored():
            await self._members.bulk_write(
                [
                    UpdateOne(
                        {"_id": _member(room, user)},
                        {
                            "$setOnInsert": {
                                "room": room,
                                "user": user,
                                "rev": 0,
                                "active": False,
                                "active_at": LONG_AGO,
                            }
                        },
                        upsert=True,
                    )
                    for user in users
                ],
                ordered=False,
            )

    async def discard_members(self, room: str) -> None:
        """Delete the documents that were prepared for a room that does not exist."""
        async with domain_errors():
            await self._members.delete_many({"room": room})

    async def project_members(self, room: str, events: Sequence[Members], view: RoomView) -> None:
        """Write what events say about members, unless something newer is stored."""
        del view
        newest = {change.user: (event, change) for event in events for change in event.changes}
        writes: list[UpdateOne] = []
        for user, (event, change) in newest.items():
            update: dict[str, Any] = {
                "$set": {"rev": event.rev, "active": change.role is not None},
                "$max": {"active_at": event.at},
            }
            writes.append(
                UpdateOne({"_id": _member(room, user), "rev": {"$lt": event.rev}}, update)
            )
        async with domain_errors():
            await self._members.bulk_write(writes, ordered=False)

    async def memberships(self, user: str, after: Cursor | None, limit: int) -> list[Membership]:
        """Return a user's rooms after a cursor, most recently active first."""
        query: dict[str, Any] = {"user": user, "active": True}
        if after is not None:
            at, room = after
            query["$or"] = [{"active_at": {"$lt": at}}, {"active_at": at, "room": {"$gt": room}}]
        async with domain_errors():
            found = await (
                self._members.find(query)
                .sort([("active_at", -1), ("room", 1)])
                .limit(limit)
                .to_list()
            )
        return [Membership(one["room"], one["active_at"], _position(one)) for one in found]

    async def contacts(self, user_id: str) -> set[str]:
        """Return the users who share a room with a user: of the most recently active rooms."""
        async with domain_errors():
            own = await (
                self._members.find({"user": user_id, "active": True}, {"room": 1})
                .sort([("active_at", -1), ("room", 1)])
                .limit(CONTACT_ROOMS_MAX)
                .to_list()
            )
            rooms = [one["room"] for one in own]
            found = await (
                self._members.find({"room": {"$in": rooms}, "active": True}, {"user": 1})
                .limit(CONTACT_MEMBERS_MAX)
                .to_list()
            )
        users = dict.fromkeys(one["user"] for one in found if one["user"] != user_id)
        return set(list(users)[:CONTACTS_MAX])

    async def positions(self, rooms: Sequence[str]) -> dict[str, dict[str, Position]]:
        """Return the positions of rooms' members, by room and user."""
        async with domain_errors():
            found = await self._members.find({"room": {"$in": list(rooms)}}).to_list()
        result: dict[str, dict[str, Position]] = {}
        for one in found:
            result.setdefault(one["room"], {})[one["user"]] = _position(one)
        return result

    async def raise_positions(self, positions: Mapping[tuple[str, str], Position]) -> None:
        """Raise positions, by room and user, those of users who are members."""
        writes = [
            UpdateOne(
                # No upsert: what is deleted with an account does not come back.
                {"_id": _member(room, user)},
                {
                    "$max": {
                        "read": position.read,
                        "delivered": max(position.delivered, position.read),
                        "notified": position.notified,
                    }
                },
            )
            for (room, user), position in positions.items()
        ]
        if writes:
            async with domain_errors():
                await self._members.bulk_write(writes, ordered=False)

    # Deleting an account; each can be done again

    async def rooms_to_erase(self, user_id: str) -> list[str]:
        """Return some of the rooms whose logs have named a user."""
        async with domain_errors():
            found = await self._members.find({"user": user_id}, {"room": 1}).to_list(ERASING_MAX)
        return [str(one["room"]) for one in found]

    async def erased(self, room: str, user_id: str, gone: str) -> None:
        """Delete what else names a user in a room, last of all the user's document there."""
        async with domain_errors():
            await self._rooms.update_one(
                {"_id": room, "preview.sender": {"$in": [user_id, gone]}},
                {"$unset": {"preview": ""}},
            )
            await self._rooms.update_one({"_id": room}, {"$unset": {"pair": ""}})
            await self._members.delete_one({"_id": _member(room, user_id)})

    @property
    def _rooms(self) -> Collection:
        return self._mongo.database["rooms"]

    @property
    def _members(self) -> Collection:
        return self._mongo.database["members"]


def _pair(members: tuple[str, str]) -> str:
    return ":".join(sorted(members))


def _member(room: str, user: str) -> str:
    return f"{room}:{user}"


def _position(document: dict[str, Any]) -> Position:
    return Position(
        document.get("read", 0), document.get("delivered", 0), document.get("notified", 0)
    )


def _cached(document: dict[str, Any]) -> CachedRoom:
    preview = document.get("preview")
    return CachedRoom(
        view=RoomView.model_validate(document["view"]),
        active_at=document["active_at"],
        preview=Preview(**preview) if preview else None,
        founding=tuple(document.get("founding", ())),
    )
