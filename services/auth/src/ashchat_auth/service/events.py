"""Security events: who, what, when, from where; never a secret (OWASP ASVS 5.0, 16.3)."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import structlog

from ashchat_auth.models import EventKind, SecurityEvent, User
from ashchat_auth.service.common import new_id, now
from ashchat_auth.service.ports import Store
from ashchat_core.messages import SecurityEventKind, SecurityNotice

SOON_SECONDS: Final = 0.1
"""How long storing an event waits, so that it does not delay the answer to the request."""

PAGE_EVENTS: Final = 100
"""Maximum events per page."""


# Seven parameters: one for each field of the event that callers set.
def event(
    user_id: str,
    kind: EventKind,
    *,
    address: str | None,
    device_os: str | None = None,
    session_id: str | None = None,
    at: datetime | None = None,
    id: str | None = None,  # noqa: A002 (the field's name)
) -> SecurityEvent:
    """Return an event that happens now."""
    return SecurityEvent(
        id=id or new_id(),
        user_id=user_id,
        kind=kind,
        at=at or now(),
        address=address,
        device_os=device_os,
        session_id=session_id,
    )


def notice(
    user: User,
    kind: SecurityEventKind,
    *,
    id: str,  # noqa: A002 (the field's name)
    at: datetime,
) -> SecurityNotice:
    """Return the notice for the owner, addressed to the current address."""
    return SecurityNotice(
        notice_id=id,
        event=kind,
        email=user.email,
        nickname=user.name,
        preferred_language=user.preferred_language,
        at=at,
    )


class Events:
    """Stores events that no write of an account contains.

    Events that strangers can cause are stored in the background, so that a failed sign-in takes
    as long for an existing account as for an unknown address. A crash, or a database that does
    not answer, may lose an event of this class; events that must not be lost are in `Due`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("security")

    async def record(self, happened: SecurityEvent) -> None:
        """Store an event that the owner causes: it is listed once the request is answered."""
        await self._quietly(self._record(happened))

    def count(self, happened: SecurityEvent) -> None:
        """Store an event that strangers can cause soon: one per hour and network, with a count."""
        who = f"{happened.user_id}/{happened.kind}/{happened.address}/{happened.at:%Y%m%d%H}"
        counted = happened.model_copy(update={"id": sha256(who.encode()).hexdigest()[:32]})
        task = asyncio.create_task(self._quietly(self._count_soon(counted)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Wait until every event so far was stored."""
        while self._running:
            await asyncio.wait(self._running)

    async def page(
        self, user_id: str, *, before: datetime | None, limit: int
    ) -> list[SecurityEvent]:
        """Return an account's events, newest first."""
        return await self._store.events_of(user_id, before=before, limit=min(limit, PAGE_EVENTS))

    async def _record(self, happened: SecurityEvent) -> None:
        await self._store.store_event(happened)
        await self._discard_if_deleted(happened.user_id)

    async def _count_soon(self, happened: SecurityEvent) -> None:
        await asyncio.sleep(SOON_SECONDS)
        await self._store.count_event(happened)
        await self._discard_if_deleted(happened.user_id)

    async def _discard_if_deleted(self, user_id: str) -> None:
        # Check after the write, so that a concurrent deletion leaves nothing behind.
        if await self._store.user(user_id) is None:
            await self._store.delete_events(user_id)

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 (the request itself succeeded)
            self._log.warning("an event was not stored", kind=type(error).__name__)
