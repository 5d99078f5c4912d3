"""Collection `sessions`: chains of refresh tokens, stored as hashes."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, Final

import structlog
from pymongo import ReturnDocument

from ashchat_auth.models import RevokedSession, Session, TokenReusedError
from ashchat_auth.store.base import MongoPart, delete_page, document, fields
from ashchat_core.messages import SESSION_IDS_MAX

GRACE_SECONDS: Final = 10
"""How long a refresh may be repeated because its response was lost."""

SIBLINGS: Final = 10
"""Maximum refresh tokens of one session that are valid at once, after lost responses."""

SPENT_REMEMBERED: Final = 100
"""Maximum used refresh tokens stored per session; older ones are merely invalid."""

LISTED_MAX: Final = 200
"""Maximum sessions returned per account."""

Document = dict[str, Any]

_LIVE: Document = {"revoked_at": None}
"""Also matches documents without the field."""


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


class MongoSessions(MongoPart):
    """Sessions. A revoked one is marked first, and deleted once chat was notified."""

    async def next_sign_in(self, user_id: str) -> int:
        """Count a sign-in; return its number, which no other sign-in of the account has."""
        # Not a time: the clocks of two pods may differ, and the newer sign-in must win.
        found = await self._mongo.database["users"].find_one_and_update(
            {"_id": user_id},
            {"$inc": {"sign_ins": 1}},
            projection={"sign_ins": 1},
            return_document=ReturnDocument.AFTER,
        )
        return int(found["sign_ins"]) if found else 0

    async def add_session(self, session: Session, *, expires_at: datetime) -> str:
        """Store a session; return its first refresh token, which is not stored itself."""
        secret = token_urlsafe(32)
        await self._sessions.insert_one(
            {
                **document(session),
                "good": [_hash(secret)],
                "spent": [],
                "expires_at": expires_at,
            }
        )
        return f"{session.id}.{secret}"

    async def session(self, session_id: str, now: datetime) -> Session | None:
        """Return a live session."""
        # The TTL index deletes once a minute, so compare here as well.
        found = await self._sessions.find_one(
            {"_id": session_id, "expires_at": {"$gt": now}, **_LIVE}
        )
        return _session(found) if found else None

    async def sessions_of(self, user_id: str, now: datetime) -> list[Session]:
        """Return an account's live sessions, last used first."""
        cursor = self._sessions.find({"user_id": user_id, "expires_at": {"$gt": now}, **_LIVE})
        return [_session(found) async for found in cursor.sort("used_at", -1).limit(LISTED_MAX)]

    async def rotate(
        self, refresh_token: str, *, now: datetime, expires_at: datetime, address: str
    ) -> str | None:
        """Exchange a refresh token for the next one (RFC 9700, section 4.14.2).

        A token that was used before was copied, so the session ends. For ten seconds, however,
        it returns a sibling, because a response may get lost and only its hash is stored. All
        siblings are valid until one of them is used; then the others count as used, or a thief
        who refreshed twice would stay signed in alongside the owner, undetected.

        Returns:
            The next token; None if this one is not valid.

        Raises:
            TokenReusedError: it was used before; the session is marked as ended.
        """
        session_id, _, secret = refresh_token.partition(".")
        given, fresh = _hash(secret), token_urlsafe(32)
        # Repeated if another write came in between, which has succeeded then.
        while True:
            which = {"_id": session_id, **_LIVE}
            found = await self._sessions.find_one(which, {"good": 1, "spent": 1})
            if found is None:
                return None
            good: list[str] = found["good"]
            # As it was read: a sibling created in between would not be marked as spent.
            which["good"] = good
            if given in good:
                spent = [{"hash": one, "at": now} for one in good]
                update: Document = {
                    "$set": {"good": [_hash(fresh)], "used_at": now, "expires_at": expires_at},
                    "$push": {"spent": {"$each": spent, "$slice": -SPENT_REMEMBERED}},
                }
            else:
                used = [item["at"] for item in found["spent"] if item["hash"] == given]
                if not used:
                    return None
                if now - used[-1] > timedelta(seconds=GRACE_SECONDS):
                    await self._end_reused(session_id, now, address)
                    raise TokenReusedError
                if len(good) >= SIBLINGS:
                    return None
                update = {"$push": {"good": _hash(fresh)}}
            if (await self._sessions.update_one(which, update)).matched_count:
                return f"{session_id}.{fresh}"

    async def _end_reused(self, session_id: str, now: datetime, address: str) -> None:
        await self._sessions.update_one(
            {"_id": session_id, **_LIVE}, {"$set": {"revoked_at": now, "reused_from": address}}
        )
        structlog.get_logger("store").warning("a refresh token was used again", session=session_id)

    async def set_session_epoch(self, session_id: str, epoch: int) -> None:
        """Move a session to a new epoch of its account."""
        await self._sessions.update_one({"_id": session_id}, {"$set": {"epoch": epoch}})

    async def revoke(self, user_id: str, now: datetime, *, only: str | None = None) -> int:
        """Mark the sessions of an account, or one of them, as ended; return their number."""
        which: Document = {"user_id": user_id, **_LIVE}
        if only is not None:
            which["_id"] = only
        marked = await self._sessions.update_many(which, {"$set": {"revoked_at": now}})
        return int(marked.modified_count)

    async def end_replaced(self, session: Session, now: datetime) -> int:
        """Mark all but the newest session of a session's device as ended; return their number.

        To be called after the session is stored. Of concurrent sign-ins, each sees the others'
        sessions or is seen by them, so that one session remains: that of the newest.
        """
        device = {"user_id": session.user_id, "device_hash": session.device_hash, **_LIVE}
        ended = {"$set": {"revoked_at": now}}
        # A missing number counts as 0.
        older = {"$or": [{"sign_in": {"$lt": session.sign_in}}, {"sign_in": None}]}
        marked = await self._sessions.update_many({**device, **older}, ended)
        newer = {**device, "sign_in": {"$gt": session.sign_in}}
        if await self._sessions.find_one(newer, {"_id": 1}) is None:
            return int(marked.modified_count)
        own = await self._sessions.update_one({"_id": session.id, **_LIVE}, ended)
        return int(marked.modified_count + own.modified_count)

    async def revoked_of(self, user_id: str) -> list[RevokedSession]:
        """Return a page of an account's sessions that are marked as ended."""
        cursor = self._sessions.find({"user_id": user_id, "revoked_at": {"$ne": None}})
        page = cursor.limit(SESSION_IDS_MAX)
        return [RevokedSession.model_validate(fields(found)) async for found in page]

    async def revoked_before(self, before: datetime) -> AsyncIterator[str]:
        """Yield the accounts with sessions that were marked before a time."""
        cursor = self._sessions.find({"revoked_at": {"$lt": before}}, {"user_id": 1})
        seen: set[str] = set()
        async for found in cursor.limit(1000):
            if found["user_id"] not in seen:
                seen.add(found["user_id"])
                yield found["user_id"]

    async def delete_sessions(self, session_ids: Sequence[str]) -> None:
        """Delete sessions."""
        await self._sessions.delete_many({"_id": {"$in": list(session_ids)}})

    async def delete_ended(
        self, user_id: str, *, below: int | None = None, but: str | None = None
    ) -> bool:
        """Delete a page of the sessions of older epochs, or of all; True if none is left."""
        which: Document = {"user_id": user_id}
        if below is not None:
            # A missing epoch counts as 0.
            which["$or"] = [{"epoch": {"$lt": below}}, {"epoch": None}]
            # The owner must still be warned about a token that was used twice.
            which["reused_from"] = None
        if but is not None:
            which["_id"] = {"$ne": but}
        return await delete_page(self._sessions, which)

    @property
    def _sessions(self) -> Any:
        return self._mongo.database["sessions"]


def _session(found: Document) -> Session:
    return Session.model_validate(fields(found))
