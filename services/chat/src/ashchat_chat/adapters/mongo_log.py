"""The log of all rooms in MongoDB: single-document writes and unique indexes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ReplaceOne

from ashchat_chat.adapters import mongo_mentions
from ashchat_chat.adapters.mongo_bulk import Appends
from ashchat_chat.adapters.mongo_errors import Collection, domain_errors
from ashchat_chat.rooms.events import AnyEvent, Deleted, Reacted, Sent, Text, parse
from ashchat_core.mongo import Mongo

OR_MAX = 200
"""Rooms in one `$or`."""


class MongoLog:
    """The collection `events`.

    Unique (room, rev) is the order; unique (room, sender, client_id) makes a send idempotent.
    `translate` marks what the broker has not confirmed.
    """

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._appends = Appends(lambda: self._events)

    async def create_log_indexes(self) -> None:
        """Create the indexes that are missing."""
        create = self._events.create_index
        await create([("room", 1), ("rev", 1)], unique=True, name="room_rev")
        await create(
            [("room", 1), ("sender", 1), ("client_id", 1)],
            unique=True,
            name="room_sender_client_id",
            partialFilterExpression=_having("client_id"),
        )
        await create([("room", 1), ("n", 1)], name="room_n", partialFilterExpression=_having("n"))
        await create(
            [("room", 1), ("about", 1), ("rev", 1)],
            name="room_about_rev",
            partialFilterExpression=_having("about"),
        )
        await create(
            [("translate", 1)], name="outbox", partialFilterExpression=_having("translate")
        )
        await create(
            mongo_mentions.INDEX,
            name="room_mention_users_n",
            partialFilterExpression=_having("mention_users"),
        )
        await create([("purge", 1)], name="purge", partialFilterExpression=_having("purge"))

    async def insert(self, event: AnyEvent) -> None:
        """Commit an event. Raises ConflictError: its revision or its client's id is taken."""
        document = _document(event)
        if isinstance(event, Text) and event.targets:
            document["translate"] = event.at
        if isinstance(event, Deleted):
            document["purge"] = event.at
        await self._appends.insert(document)

    async def by_client_id(self, room: str, sender: str, client_id: str) -> AnyEvent | None:
        """Return the event of a sender's own id."""
        async with domain_errors():
            found = await self._events.find_one(
                {"room": room, "sender": sender, "client_id": client_id}
            )
        return parse(found) if found else None

    async def at(self, room: str, rev: int) -> AnyEvent | None:
        """Return one event."""
        async with domain_errors():
            found = await self._events.find_one({"room": room, "rev": rev})
        return parse(found) if found else None

    async def after(self, revs: Mapping[str, int], limit: int) -> list[AnyEvent]:
        """Return the events after these revisions, by room and revision, at most `limit`."""
        wanted = [{"room": room, "rev": {"$gt": rev}} for room, rev in sorted(revs.items())]
        return await self._find(wanted, limit)

    async def numbered(self, ranges: Mapping[str, tuple[int, int]]) -> list[Sent]:
        """Return, by room and number, the messages numbered from a first up to a last one."""
        # A range of both ends: nothing is sorted beyond what is returned.
        wanted = [
            {"room": room, "n": {"$gte": first, "$lte": last}}
            for room, (first, last) in sorted(ranges.items())
        ]
        return [event for event in await self._find(wanted) if isinstance(event, Sent)]

    async def about(self, revs: Mapping[str, Sequence[int]]) -> list[AnyEvent]:
        """Return the events that refer to these messages, by room and revision."""
        wanted = [
            {"room": room, "about": {"$in": list(messages)}}
            for room, messages in sorted(revs.items())
        ]
        return await self._find(wanted)

    async def mentions(self, user: str, after: Mapping[str, int]) -> dict[str, int]:
        """Return, by room, how many messages after a number mention a user."""
        found: list[dict[str, Any]] = []
        rooms = sorted(after.items())
        for start in range(0, len(rooms), OR_MAX):
            some = rooms[start : start + OR_MAX]
            wanted = [mongo_mentions.query(room, user, n) for room, n in some]
            async with domain_errors():
                cursor = self._events.find({"$or": wanted}, mongo_mentions.PROJECTION)
                found += await cursor.to_list()
        return mongo_mentions.count(user, found)

    async def untranslated(self, before: datetime, limit: int) -> list[Text]:
        """Return messages whose translation job the broker has not confirmed."""
        async with domain_errors():
            found = await self._events.find({"translate": {"$lt": before}}).limit(limit).to_list()
        return [event for event in map(parse, found) if isinstance(event, Text)]

    async def translation_requested(self, event: Text) -> None:
        """Record that the broker has confirmed a message's translation job."""
        async with domain_errors():
            await self._events.update_one(
                {"room": event.room, "rev": event.rev}, {"$unset": {"translate": ""}}
            )

    async def unpurged(self, before: datetime, limit: int) -> list[Deleted]:
        """Return deletions whose texts may still be stored."""
        async with domain_errors():
            found = await self._events.find({"purge": {"$lt": before}}).limit(limit).to_list()
        return [event for event in map(parse, found) if isinstance(event, Deleted)]

    async def purged(self, deletion: Deleted) -> None:
        """Record that no text of a deleted message is stored any more."""
        async with domain_errors():
            await self._events.update_one(
                {"room": deletion.room, "rev": deletion.rev}, {"$unset": {"purge": ""}}
            )

    async def rewrite(self, events: Sequence[AnyEvent]) -> None:
        """Replace the events of the same revisions."""
        writes = [
            ReplaceOne({"room": event.room, "rev": event.rev}, _document(event)) for event in events
        ]
        if writes:
            async with domain_errors():
                await self._events.bulk_write(writes, ordered=False)

    async def _find(
        self, wanted: Sequence[dict[str, Any]], limit: int | None = None
    ) -> list[AnyEvent]:
        """Return the events that match any of the queries, by room and revision."""
        result: list[AnyEvent] = []
        for start in range(0, len(wanted), OR_MAX):
            some = wanted[start : start + OR_MAX]
            query = some[0] if len(some) == 1 else {"$or": some}
            async with domain_errors():
                found = self._events.find(query).sort([("room", 1), ("rev", 1)])
                if limit is not None:
                    found = found.limit(limit - len(result))
                result += map(parse, await found.to_list())
            if limit is not None and len(result) >= limit:
                break
        return result

    @property
    def _events(self) -> Collection:
        return self._mongo.database["events"]


def _document(event: AnyEvent) -> dict[str, Any]:
    """Return an event as it is stored."""
    document = {**event.model_dump(exclude_none=True), **mongo_mentions.fields(event)}
    if isinstance(event, Reacted) and event.client_id is not None:
        document["sender"] = event.sender  # as in the index of clients' ids
    return document


def _having(field: str) -> dict[str, Any]:
    """Return the filter of an index over the documents that have a field."""
    return {field: {"$exists": True}}
