"""Collection `events`: security events of accounts, stored for a limited time."""

from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter
from pymongo.errors import DuplicateKeyError

from ashchat_auth.models import SecurityEvent
from ashchat_auth.store.base import MongoPart, delete_page, document, fields

_EVENTS = Counter("ashchat_auth_security_events_total", "Security events, by kind", ["kind"])


class MongoEvents(MongoPart):
    """Security events; a TTL index deletes them."""

    _event_life: timedelta

    async def store_event(self, event: SecurityEvent) -> None:
        """Store an event; storing it again changes nothing."""
        try:
            await self._events.insert_one(
                {**document(event), "expires_at": event.at + self._event_life}
            )
        except DuplicateKeyError:
            return
        _report(event)

    async def count_event(self, event: SecurityEvent) -> None:
        """Store an event, or increment its count if it exists."""
        kept = document(event)
        number = kept.pop("count")
        newest = {"at": kept.pop("at"), "expires_at": event.at + self._event_life}
        await self._events.update_one(
            {"_id": kept.pop("_id")},
            {"$setOnInsert": kept, "$set": newest, "$inc": {"count": number}},
            upsert=True,
        )
        _report(event)

    async def events_of(
        self, user_id: str, *, before: datetime | None, limit: int
    ) -> list[SecurityEvent]:
        """Return an account's events, newest first."""
        which: dict[str, Any] = {"user_id": user_id}
        if before is not None:
            which["at"] = {"$lt": before}
        cursor = self._events.find(which).sort("at", -1).limit(limit)
        return [SecurityEvent.model_validate(fields(found)) async for found in cursor]

    async def delete_events(self, user_id: str) -> bool:
        """Delete a page of an account's events; True if none is left."""
        return await delete_page(self._events, {"user_id": user_id})

    @property
    def _events(self) -> Any:
        return self._mongo.database["events"]


def _report(event: SecurityEvent) -> None:
    """Count and log an event: the collection is deleted with its owner's account."""
    _EVENTS.labels(event.kind).inc()
    structlog.get_logger("security").info(
        "security event", kind=event.kind, user=event.user_id, address=event.address
    )
