"""Consumes TRANSLATE_QUEUE and publishes one result per language to TRANSLATED_QUEUE.

A job is acknowledged after the broker has confirmed every result. A redelivered job publishes
the same results again, mostly from the cache, with the same message ids; chat accepts each
(room, message, text version, language) once.

The queue is first in, first out, so an account that sends faster than it is translated would
delay everybody. Its jobs beyond a few are parked in the retry queue instead of waiting here.
"""

import asyncio
from collections import Counter
from typing import Final

from ashchat_core.amqp import Broker, Delivery
from ashchat_core.errors import RetryError
from ashchat_core.messages import TranslateJob, TranslationResult
from ashchat_core.topology import Queue, Service
from ashchat_translate import metrics
from ashchat_translate.service import Outcome, Translator, result

JOBS_PER_ACCOUNT_MAX: Final = 20
"""Maximum jobs of one account in progress on this pod; further ones are parked. Ten accounts
that flood the queue leave places of the prefetch to others."""

PARKED_TIMES_MAX: Final = 4
"""How often a job is parked before its readers are left with the original."""


def register(broker: Broker, translator: Translator, *, prefetch: int) -> None:
    """Register the consumer of translation jobs."""
    in_progress: Counter[str] = Counter()

    async def publish(body: TranslationResult) -> None:
        await broker.publish(
            Service.TRANSLATE.value,
            Queue.TRANSLATED.value,
            body,
            message_id=f"{body.message}.{body.text_version}.{body.target}",
        )

    async def translate(job: TranslateJob) -> None:
        prepared = await translator.prepare(job)

        async def answer(target: str) -> None:
            await publish(await translator.result(job, prepared, target))

        # Fast languages do not wait for slow ones.
        answers = [asyncio.create_task(answer(target)) for target in dict.fromkeys(job.targets)]
        try:
            await asyncio.gather(*answers)
        finally:
            for task in answers:
                task.cancel()
        metrics.JOBS.inc()

    async def handle(delivery: Delivery[TranslateJob]) -> None:
        job = delivery.body
        if in_progress[job.sender] >= JOBS_PER_ACCOUNT_MAX:
            if delivery.attempts < PARKED_TIMES_MAX:
                metrics.PARKED.inc()
                raise RetryError
            busy = Outcome("failed", job.source, reason="too_many_requests")
            for target in dict.fromkeys(job.targets):
                await publish(result(job, target, busy))
            return
        in_progress[job.sender] += 1
        try:
            await translate(job)
        finally:
            in_progress[job.sender] -= 1
            if not in_progress[job.sender]:
                del in_progress[job.sender]

    broker.consume(Queue.TRANSLATE.value, TranslateJob, handle, prefetch=prefetch)
