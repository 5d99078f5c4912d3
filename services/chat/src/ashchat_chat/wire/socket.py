"""All open sockets of this pod: how they begin, how they are watched, how they end."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ashchat_chat import metrics
from ashchat_chat.users.revocations import Over, Revocations, session_over, user_over
from ashchat_chat.wire import limits
from ashchat_chat.wire.admission import Admission, SocketRequest
from ashchat_chat.wire.connection import Close, Connection
from ashchat_chat.wire.flusher import Flusher
from ashchat_chat.wire.handshake import Handshake
from ashchat_chat.wire.rules import Rules
from ashchat_chat.wire.session import Session

SWEEP_SECONDS: Final = 1.0
"""How often the sockets are examined: silent, stalled, expired."""

FORGET_SECONDS: Final = 10.0
FAREWELL_SECONDS = 3.0
"""Over how long a stopping pod closes its sockets, so that they do not come back at once."""


class Sockets:
    """All open sockets of this pod."""

    def __init__(
        self, rules: Rules, admission: Callable[["Sockets"], Admission], revocations: Revocations
    ) -> None:
        """Accept sockets.

        Args:
            rules: What the sessions call.
            admission: Returns who decides which sockets are opened.
            revocations: The ended sessions, whose sockets are closed.
        """
        self._rules = rules
        self._admission = admission(self)
        self._revocations = revocations
        revocations.call_on_new(self.close_revoked)
        self._flusher = Flusher()
        self._sessions: set[Session] = set()
        self._by_name: dict[str, set[Session]] = {}
        """Sockets by the names that revocations have: of their session, and of their user."""
        self.stopping = False

    def protocol(self, open_connections: set[Any]) -> asyncio.Protocol:
        """Return the protocol of a connection that asks for a WebSocket; see core's `runtime`."""
        return Handshake(self.accept, self._flusher, open_connections)

    async def accept(self, request: SocketRequest) -> Callable[[Connection], None]:
        """Return what starts the session on the open connection.

        Raises:
            SocketRefusedError: The socket must not be opened.
            StoreUnavailableError: It is not known whether it may be opened.
        """
        admitted = await self._admission.admit(request)

        def start(connection: Connection) -> None:
            left = (admitted.expires_at - datetime.now(UTC)).total_seconds()
            session = Session(
                self._rules,
                admitted,
                connection,
                expires_at=asyncio.get_running_loop().time() + left,
                on_end=self._closed,
            )
            connection.listen(session)
            self._opened(session)
            # It may have ended since it was admitted.
            self._close_if_revoked(session)

        return start

    def close_revoked(self, over: Sequence[Over]) -> None:
        """Close the sockets of sessions that have ended, found without a walk over all sockets."""
        for one in over:
            for session in list(self._by_name.get(one.name, ())):
                self._close_if_revoked(session)

    def _close_if_revoked(self, session: Session) -> None:
        who = session.admitted
        if self._revocations.revoked(user=who.user, session=who.sid, epoch=who.epoch):
            session.connection.close(Close.REVOKED, "session revoked")

    async def sweep(self) -> None:
        """Close the silent, stalled and expired sockets; until cancelled."""
        loop = asyncio.get_running_loop()
        forget_at = loop.time() + FORGET_SECONDS
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for session in list(self._sessions):
                _examine(session, now)
            if now >= forget_at:
                forget_at = now + FORGET_SECONDS
                for buckets in (self._rules.sending, self._rules.acking):
                    for user in [one for one, bucket in buckets.items() if bucket.full(now)]:
                        del buckets[user]

    async def close_all(self) -> None:
        """Close every socket with 1012, spread over a few seconds; open no new ones.

        Takes at most twice FAREWELL_SECONDS. That nobody is here any more is said meanwhile,
        and given up with it: without Redis it would use up the time that messages need, and
        ends by itself there.
        """
        self.stopping = True
        leaving = asyncio.create_task(self._rules.presence.leave())
        sessions = list(self._sessions)
        random.shuffle(sessions)
        waves = 10
        for wave in range(waves):
            for session in sessions[wave::waves]:
                session.connection.close(Close.RESTART, "restart; resume with since")
            if len(sessions) > waves:
                await asyncio.sleep(FAREWELL_SECONDS / waves)
        deadline = asyncio.get_running_loop().time() + FAREWELL_SECONDS
        while self._sessions and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(leaving, deadline - asyncio.get_running_loop().time())

    def _opened(self, session: Session) -> None:
        self._sessions.add(session)
        for name in _names(session):
            self._by_name.setdefault(name, set()).add(session)
        metrics.SOCKETS.set(len(self._sessions))
        self._rules.presence.opened(session.admitted.user, session.online)

    def _closed(self, session: Session) -> None:
        self._sessions.discard(session)
        for name in _names(session):
            sessions = self._by_name[name]
            sessions.discard(session)
            if not sessions:
                del self._by_name[name]
        metrics.SOCKETS.set(len(self._sessions))
        self._admission.released(session.admitted.user)
        self._rules.presence.closed(session.admitted.user, session.online)


def _examine(session: Session, now: float) -> None:
    connection = session.connection
    if now >= session.expires_at:
        connection.close(Close.TOKEN_EXPIRED, "token_expired")
    elif now - session.seen_at > limits.SILENCE_SECONDS and not connection.held:
        connection.close(Close.SILENT, "no heartbeat")
    else:
        connection.check(now)


def _names(session: Session) -> tuple[str, str]:
    return session_over(session.admitted.sid).name, user_over(session.admitted.user).name
