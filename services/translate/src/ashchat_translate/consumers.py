"""Consumes TRANSLATE_QUEUE and publishes one result per language to TRANSLATED_QUEUE.

A job is acknowledged after the broker has confirmed every result. A redelivered job publishes
the same results again, mostly from the cache, with the same message ids; chat accepts each
(room, message, text version, language) once.
"""

import asyncio

from ashchat_core.amqp import Broker, Delivery
from ashchat_core.messages import TranslateJob
from ashchat_core.topology import Queue, Service
from ashchat_translate import metrics
from ashchat_translate.service import Translator


def register(broker: Broker, translator: Translator, *, prefetch: int) -> None:
    """Register the consumer of translation jobs."""

    async def answer(job: TranslateJob, target: str) -> None:
        result = await translator.result(job, target)
        await broker.publish(
            Service.TRANSLATE.value,
            Queue.TRANSLATED.value,
            result,
            message_id=f"{job.message}.{job.text_version}.{target}",
        )

    async def translate(delivery: Delivery[TranslateJob]) -> None:
        job = delivery.body
        # Fast languages do not wait for slow ones.
        answers = [
            asyncio.create_task(answer(job, target)) for target in dict.fromkeys(job.targets)
        ]
        try:
            await asyncio.gather(*answers)
        finally:
            for task in answers:
                task.cancel()
        metrics.JOBS.inc()

    broker.consume(Queue.TRANSLATE.value, TranslateJob, translate, prefetch=prefetch)
