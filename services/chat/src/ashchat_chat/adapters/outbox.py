"""Translation jobs to TRANSLATE_QUEUE, through an outbox.

A message is committed with a mark, which is removed once the broker has confirmed the job. A
sweeper publishes what is left (the broker was unavailable, this pod was killed). A job may be
published twice, because its results are accepted once.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from ashchat_chat import metrics
from ashchat_chat.rooms.events import Text
from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_core import languages
from ashchat_core.amqp import Broker, BrokerUnavailableError, PublishError
from ashchat_core.messages import TranslateJob
from ashchat_core.topology import Queue, Service

WORKERS = 4
WAITING_MAX = 1_000
"""Maximum jobs in memory; the sweeper publishes what does not fit."""

SWEEP_SECONDS = 3.0
LEFT_OVER_SECONDS = 8.0
"""Age at which a mark is no longer in progress on any pod."""

SWEEP_MAX = 200


class OutboxStore(Protocol):
    """Stores the marks. Every method may raise StoreUnavailableError."""

    async def untranslated(self, before: datetime, limit: int) -> list[Text]:
        """Return messages whose translation job the broker has not confirmed."""
        ...

    async def translation_requested(self, event: Text) -> None:
        """Record that the broker has confirmed a message's translation job."""
        ...


class TranslationOutbox:
    """Publishes translation jobs, at least once."""

    def __init__(self, broker: Broker, store: OutboxStore) -> None:
        self._broker = broker
        self._store = store
        self._waiting: asyncio.Queue[Text] = asyncio.Queue(WAITING_MAX)
        self._log = structlog.get_logger("outbox")

    def add(self, event: Text) -> None:
        """Publish a message's job soon; the message is already marked."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._log.info("left to the sweeper")

    async def run(self) -> None:
        """Publish added jobs; until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def sweep(self) -> None:
        """Publish what is left, regularly; until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            before = datetime.now(UTC) - timedelta(seconds=LEFT_OVER_SECONDS)
            try:
                left = await self._store.untranslated(before, SWEEP_MAX)
                metrics.OUTBOX.set(len(left))
                for event in left:
                    await self._publish(event)
            except (BrokerUnavailableError, PublishError, StoreUnavailableError) as error:
                self._log.info("sweep postponed", kind=type(error).__name__)

    async def _work(self) -> None:
        while True:
            event = await self._waiting.get()
            try:
                await self._publish(event)
            except (BrokerUnavailableError, PublishError, StoreUnavailableError) as error:
                self._log.info("left to the sweeper", kind=type(error).__name__)

    async def _publish(self, event: Text) -> None:
        await self._broker.publish(
            Service.CHAT.value,
            Queue.TRANSLATE.value,
            TranslateJob(
                room=event.room,
                message=event.message_id,
                text_version=event.text_version,
                text=event.text,
                sender=event.sender,
                source=None if event.language == languages.UNKNOWN else event.language,
                targets=event.targets,
                requested_at=event.at,
            ),
            message_id=f"{event.message_id}.{event.text_version}",
        )
        await self._store.translation_requested(event)
