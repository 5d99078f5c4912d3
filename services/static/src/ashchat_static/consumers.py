"""The consumers of static. A handler may be called twice for a message."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from ashchat_core.amqp import Broker, Delivery, DependencyDownError
from ashchat_core.messages import AccountDeletion, SessionRevoked
from ashchat_core.topology import Queue
from ashchat_static import service
from ashchat_static.ended_sessions import EndedSessions
from ashchat_static.service import StorageFullError
from ashchat_static.store import Volume

PREFETCH: Final = 4


@contextmanager
def _held_while_away() -> Iterator[None]:
    """Hold a message while the volume is full or fails.

    Raises:
        DependencyDownError: the message is delivered again.
    """
    try:
        yield
    except (StorageFullError, OSError) as error:
        raise DependencyDownError("the volume") from error


def register(broker: Broker, volume: Volume, ended: EndedSessions) -> None:
    """Register the consumers of account deletions and ended sessions."""
    log = structlog.get_logger("consumers")

    async def delete_account(delivery: Delivery[AccountDeletion]) -> None:
        with _held_while_away():
            removed = await volume.remove_owner(service.owner_of(delivery.body.user_id))
        log.info("the files of a deleted account were removed", files=removed)

    async def end_sessions(delivery: Delivery[SessionRevoked]) -> None:
        with _held_while_away():
            await ended.add(delivery.body)

    broker.consume(
        Queue.SESSION_REVOKED_STATIC.value, SessionRevoked, end_sessions, prefetch=PREFETCH
    )
    broker.consume(
        Queue.ACCOUNT_DELETION_STATIC.value, AccountDeletion, delete_account, prefetch=PREFETCH
    )
