"""The consumer of static. The handler may be called twice for a message."""

from typing import Final

import structlog

from ashchat_core.amqp import Broker, Delivery, DependencyDownError
from ashchat_core.messages import AccountDeletion
from ashchat_core.topology import Queue
from ashchat_static import service
from ashchat_static.service import StorageFullError
from ashchat_static.store import Volume

PREFETCH: Final = 4


def register(broker: Broker, volume: Volume) -> None:
    """Register the consumer of account deletions."""
    log = structlog.get_logger("consumers")

    async def delete_account(delivery: Delivery[AccountDeletion]) -> None:
        try:
            removed = await volume.remove_owner(service.owner_of(delivery.body.user_id))
        except (StorageFullError, OSError) as error:
            raise DependencyDownError("the volume") from error
        log.info("the files of a deleted account were removed", files=removed)

    broker.consume(
        Queue.ACCOUNT_DELETION_STATIC.value, AccountDeletion, delete_account, prefetch=PREFETCH
    )
