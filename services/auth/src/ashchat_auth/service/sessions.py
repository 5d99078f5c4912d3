"""Sessions: refresh, list, revoke and sign out; authenticates callers.

A session ends when it is revoked, when its device signs in again, when it is unused for the
lifetime of a refresh token, when it reaches its maximum age, and when its account has a newer
epoch (a changed password or second factor, or all sessions ended at once). Chat and static are
notified of every end except the two by age, which access tokens outlive by a few minutes at most.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ashchat_auth.models import Caller, EventKind, TokenReusedError
from ashchat_auth.service.common import changed_meanwhile, no_such_user, now
from ashchat_auth.service.events import Events, event
from ashchat_auth.service.outbox import Outbox, all_sessions_end
from ashchat_auth.service.ports import Ports
from ashchat_core.errors import APIError
from ashchat_core.tokens import InvalidTokenError, device_hash


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Both tokens and their user."""

    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    user_id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A session as its owner sees it."""

    id: str
    device_os: str | None
    created_at: datetime
    used_at: datetime
    current: bool


class Sessions:
    """The flows of sessions."""

    def __init__(
        self,
        ports: Ports,
        *,
        outbox: Outbox,
        events: Events,
        refresh_life: timedelta,
        longest_life: timedelta,
    ) -> None:
        self._store = ports.store
        self._signer = ports.signer
        self._outbox = outbox
        self._events = events
        self._refresh_life = refresh_life
        self._longest_life = longest_life

    async def caller(self, *, token: str, device_token: str, address: str) -> Caller:
        """Return the user and session of an access token that this device sends.

        Raises:
            APIError: 401 invalid_token, token_expired, device_mismatch, session_over; 503.
        """
        try:
            claims = self._signer.read_access(token)
        except InvalidTokenError as error:
            if error.reason == "expired":
                raise _unauthorized("token_expired", "The token has expired: refresh it.") from None
            raise _unauthorized("invalid_token", "Send the access token.") from None
        if claims.device_hash != device_hash(device_token):
            raise _unauthorized("device_mismatch", "This session belongs to another device.")
        session = await self._store.session(claims.session_id, now())
        user = await self._store.user(claims.user_id)
        if session is None or user is None or session.epoch != user.epoch:
            raise _unauthorized("session_over", "The session has ended: sign in again.")
        return Caller(user=user, session=session, address=address, expires_at=claims.expires_at)

    async def refresh(self, *, refresh_token: str, device_token: str, address: str) -> SignedIn:
        """Exchange a refresh token for new tokens.

        Raises:
            APIError: 401 device_mismatch or invalid_token; 403 wrong_token; 404; 503.
        """
        session_id, dot, secret = refresh_token.partition(".")
        if not dot or "." in secret:
            raise APIError(403, "wrong_token", "Send the refresh token.")
        moment = now()
        session = await self._store.session(session_id, moment)
        if session is None:
            raise _ended()
        hashed = device_hash(device_token)
        if hashed != session.device_hash:
            raise _unauthorized("device_mismatch", "This session belongs to another device.")
        user = await self._store.user(session.user_id)
        if user is None:
            raise no_such_user()
        end = session.created_at + self._longest_life
        if user.epoch != session.epoch or end <= moment:
            raise _ended()
        try:
            fresh = await self._store.rotate(
                refresh_token,
                now=moment,
                expires_at=min(moment + self._refresh_life, end),
                address=address,
            )
        except TokenReusedError:
            # Which of the two is the owner cannot be known: end both, and notify the owner.
            await self._outbox.end_sessions(user.id)
            raise _ended() from None
        if fresh is None:
            raise _ended()
        token = self._signer.access(
            user_id=user.id,
            session_id=session.id,
            epoch=session.epoch,
            device_hash=hashed,
            now=moment,
        )
        return SignedIn(token, fresh, user.id)

    def socket_ticket(self, caller: Caller) -> str:
        """Return a ticket with which the caller opens one socket, instead of the access token.

        Unlike the token and the device token, it is worthless when it is found in a log of URLs.
        """
        return self._signer.socket_ticket(
            user_id=caller.user.id,
            session_id=caller.session.id,
            epoch=caller.session.epoch,
            until=caller.expires_at,
            now=now(),
        )

    async def all_of(self, caller: Caller) -> list[Listed]:
        """Return the caller's live sessions, last used first."""
        found = []
        for session in await self._store.sessions_of(caller.user.id, now()):
            if session.epoch != caller.user.epoch:
                continue
            device = caller.user.device(session.device_hash)
            found.append(
                Listed(
                    session.id,
                    device.os if device else None,
                    session.created_at,
                    session.used_at,
                    current=session.id == caller.session.id,
                )
            )
        return found

    async def revoke(self, caller: Caller, session_id: str) -> None:
        """End one of the caller's sessions.

        Raises:
            APIError: 404 no_such_session; 503.
        """
        if not await self._store.revoke(caller.user.id, now(), only=session_id):
            raise APIError(404, "no_such_session", "There is no such session, or it has ended.")
        await self._outbox.end_sessions(caller.user.id)
        await self._record(caller, "session_revoked", session_id)

    async def revoke_all(self, caller: Caller, *, current: bool) -> int:
        """End all of the caller's sessions, with or without this one; return their number.

        Raises:
            APIError: 409 changed_meanwhile; 503.
        """
        user, but = caller.user, None if current else caller.session.id
        ended = [item for item in await self.all_of(caller) if item.id != but]
        dues = all_sessions_end(user, at=now(), but=but)
        if not await self._store.change(
            user.id, {}, where={"epoch": user.epoch}, ends="sessions", due=dues
        ):
            raise changed_meanwhile()
        if but is not None:
            await self._store.set_session_epoch(but, user.epoch + 1)
        await self._outbox.settle(user.id, dues)
        await self._record(caller, "session_revoked", None)
        return len(ended)

    async def sign_out(self, caller: Caller) -> None:
        """End the caller's session."""
        await self._store.revoke(caller.user.id, now(), only=caller.session.id)
        await self._outbox.end_sessions(caller.user.id)
        await self._record(caller, "signed_out", caller.session.id)

    async def _record(self, caller: Caller, kind: EventKind, session_id: str | None) -> None:
        device = caller.user.device(caller.session.device_hash)
        await self._events.record(
            event(
                caller.user.id,
                kind,
                address=caller.address,
                device_os=device.os if device else None,
                session_id=session_id,
            )
        )


def _unauthorized(reason: str, sentence: str) -> APIError:
    return APIError(401, reason, sentence, headers={"WWW-Authenticate": "Bearer"})


def _ended() -> APIError:
    return _unauthorized("invalid_token", "The session has ended: sign in again.")
