"""What follows a write: sessions end, events are stored, messages are published.

MongoDB (FerretDB) has no transactions, so whatever must follow a write is stored in the same
document by the same write, then done, then removed. A request does it before it responds; the
sweeper does what a crash or an unavailable backend left. Everything may happen twice and
nothing may be missing: each step is idempotent by its id.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from ashchat_auth.models import Due, RevokedSession, SecurityEvent, User
from ashchat_auth.service.common import new_id, now
from ashchat_auth.service.events import notice
from ashchat_auth.service.ports import Requests, Store
from ashchat_core.errors import PublishError
from ashchat_core.messages import SessionRevoked
from ashchat_core.topology import SPECS, Queue

SWEEP_AFTER: Final = timedelta(seconds=15)
"""Age at which the sweeper does what is due; the request that caused it comes first."""

ENDINGS: Final = (Queue.SESSION_REVOKED_CHAT, Queue.SESSION_REVOKED_STATIC)
"""The queues of the services that verify access tokens."""


class Outbox:
    """Does what is due after a write."""

    def __init__(self, store: Store, requests: Requests) -> None:
        self._store = store
        self._requests = requests
        self._log = structlog.get_logger("outbox")

    async def settle(self, user_id: str, dues: Sequence[Due]) -> None:
        """Do what a write of this request made due; the sweeper repeats what fails.

        The write succeeded, so the request succeeds whatever happens here.
        """
        try:
            for due in dues:
                await self._do(user_id, due)
        except Exception as error:  # noqa: BLE001 (the write succeeded; the sweeper continues)
            self._log.warning("left to the sweeper", kind=type(error).__name__)

    async def end_sessions(self, user_id: str) -> None:
        """Publish the end of marked sessions, then delete them; failures as in `settle`."""
        try:
            await self._end_sessions(user_id)
        except Exception as error:  # noqa: BLE001 (the sessions are marked; the sweeper continues)
            self._log.warning("left to the sweeper", kind=type(error).__name__)

    async def finish_deletion(self, user_id: str) -> bool:
        """Delete what auth still stores of an account, the account last; False: not yet.

        Until then its document stores what is due, so a crash anywhere here can be resumed.
        """
        return (
            await self._store.delete_ended(user_id)
            and await self._store.delete_events(user_id)
            and await self._store.delete_user(user_id)
        )

    async def sweep(self) -> int:
        """Do what was left over; return for how many accounts.

        Raises:
            BrokerUnavailableError: the broker is away; the rest stays due.
        """
        before = now() - SWEEP_AFTER
        count = 0
        async for user in self._store.overdue(before):
            try:
                for due in user.due:
                    if due.at < before:
                        await self._do(user.id, due)
                if user.deleting_since is not None:
                    await self.finish_deletion(user.id)
            except (PublishError, ValueError) as error:
                # Its queue is not there, or it is of another version: the others go on.
                self._log.error("what is due failed again", user=user.id, kind=type(error).__name__)
            else:
                count += 1
        async for user_id in self._store.revoked_before(before):
            await self._end_sessions(user_id)
            count += 1
        return count

    async def _do(self, user_id: str, due: Due) -> None:
        if due.event is not None:
            await self._store.store_event(due.event)
        if due.queue is not None and due.body is not None:
            body = SPECS[due.queue].body.model_validate_json(due.body)
            await self._requests.publish(due.queue, body, message_id=due.id)
        if due.ends_below is not None and not await self._store.delete_ended(
            user_id, below=due.ends_below, but=due.but
        ):
            return  # the sweeper deletes the next page
        await self._store.remove_due(user_id, due.id)

    async def _end_sessions(self, user_id: str) -> None:
        revoked = await self._store.revoked_of(user_id)
        if not revoked:
            return
        for session in revoked:
            if session.reused_from is not None:
                await self._warn(session)
        ids = tuple(sorted(session.id for session in revoked))
        ended = SessionRevoked(user_id=user_id, session_ids=ids, at=revoked[0].revoked_at)
        for queue in ENDINGS:
            await self._requests.publish(queue, ended, message_id=f"revoked.{new_id()}")
        await self._store.delete_sessions(ids)

    async def _warn(self, session: RevokedSession) -> None:
        """Store the event and mail the notice about a refresh token that was used twice."""
        user = await self._store.user(session.user_id)
        if user is None:
            return
        event_id = f"reuse.{session.id}"
        await self._store.store_event(
            SecurityEvent(
                id=event_id,
                user_id=user.id,
                kind="session_reuse",
                at=session.revoked_at,
                address=session.reused_from,
                session_id=session.id,
            )
        )
        await self._requests.publish(
            Queue.SECURITY_NOTICE,
            notice(user, "session_reuse", id=event_id, at=session.revoked_at),
            message_id=event_id,
        )


def all_sessions_end(user: User, *, at: datetime, but: str | None = None) -> list[Due]:
    """Return what is due when an account gets a new epoch, which ends its sessions but one.

    The messages have the same size for any number of sessions. The sessions' documents are of an
    older epoch, so they are not accepted any more; they are deleted page by page.
    """
    below = user.epoch + 1
    ended = SessionRevoked(user_id=user.id, below=below, but=but, at=at)
    return [
        *(
            Due.for_message(queue, ended, id=f"ended.{user.id}.{below}.{queue}", at=at)
            for queue in ENDINGS
        ),
        Due(id=f"sessions.{user.id}.{below}", at=at, ends_below=below, but=but),
    ]
