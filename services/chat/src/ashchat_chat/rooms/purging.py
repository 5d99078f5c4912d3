"""Finishes the deletions of messages that were interrupted after their commit."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from ashchat_chat.rooms.messages import Messages, MessageStore
from ashchat_chat.rooms.ports import StoreUnavailableError

SWEEP_SECONDS = 10.0
LEFT_OVER_SECONDS = 10.0
"""Age at which a deletion is no longer in progress on any pod."""

SWEEP_MAX = 200


class Purging:
    """Removes texts of deleted messages that are still stored."""

    def __init__(self, store: MessageStore, messages: Messages) -> None:
        self._store = store
        self._messages = messages
        self._log = structlog.get_logger("purging")

    async def run(self) -> None:
        """Finish what is left, regularly; until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep(datetime.now(UTC) - timedelta(seconds=LEFT_OVER_SECONDS))
            except StoreUnavailableError as error:
                self._log.info("sweep postponed", kind=type(error).__name__)

    async def sweep(self, before: datetime) -> None:
        """Finish the deletions that were committed before a time.

        Raises:
            StoreUnavailableError: not now; repeating it is safe.
        """
        for deletion in await self._store.unpurged(before, SWEEP_MAX):
            await self._messages.purge(deletion)
