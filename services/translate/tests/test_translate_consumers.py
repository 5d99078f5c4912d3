"""What becomes of a job: the handler against a broker that only writes down."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from ashchat_core.amqp import Broker, BrokerUnavailableError, Delivery
from ashchat_core.messages import TranslateJob, TranslationResult
from ashchat_translate import consumers
from ashchat_translate.breaker import Breaker
from ashchat_translate.providers import Answer
from ashchat_translate.service import Link, Translator


class Notebook:
    """A broker that keeps what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, str, TranslationResult]] = []
        self.away_after = 99
        self.handler: Any = None

    def consume(self, queue: str, model: type, handler: object, *, prefetch: int) -> None:
        assert (queue, model, prefetch) == ("TRANSLATE_QUEUE", TranslateJob, 7)
        self.handler = handler

    async def publish(
        self, exchange: str, key: str, body: TranslationResult, *, message_id: str
    ) -> None:
        if len(self.published) >= self.away_after:
            raise BrokerUnavailableError
        self.published.append((exchange, key, message_id, body))


class Shout:
    name = "shout"
    calls = 0

    async def translate(self, text: str, source: str | None, target: str) -> Answer:
        self.calls += 1
        return Answer(f"{text} in {target}", source)


class Memory(dict[str, str]):
    async def get(self, key: str) -> str | None:  # type: ignore[override]
        return dict.get(self, key)

    async def put(self, key: str, value: str) -> None:
        self[key] = value


@pytest.fixture
def broker() -> Notebook:
    return Notebook()


@pytest.fixture
def provider(broker: Notebook) -> Shout:
    provider = Shout()
    translator = Translator([Link(provider, Breaker())], Memory(), call_seconds=1, hold_seconds=0)
    consumers.register(cast("Broker", broker), translator, prefetch=7)
    return provider


def delivery(*targets: str) -> Delivery[TranslateJob]:
    job = TranslateJob(
        room="r", message="m", text_version=1, text="Hola", source="es", targets=targets,
        requested_at=datetime.now(UTC),
    )  # fmt: skip
    return Delivery(job, "m", None, None, redelivered=False, attempts=0)


async def test_one_result_for_each_language(broker: Notebook, provider: Shout) -> None:
    await broker.handler(delivery("en", "pt", "en", "es"))
    assert {(exchange, key) for exchange, key, _, _ in broker.published} == {
        ("translate", "TRANSLATED_QUEUE")
    }
    assert {name: body.text for _, _, name, body in broker.published} == {
        "m.1.en": "Hola in en", "m.1.pt": "Hola in pt", "m.1.es": None,
    }  # fmt: skip
    assert provider.calls == 2


async def test_not_acknowledged_before_every_result_is_confirmed(
    broker: Notebook, provider: Shout
) -> None:
    broker.away_after = 1
    with pytest.raises(BrokerUnavailableError):  # the broker's client holds the job and comes again
        await broker.handler(delivery("en", "pt"))
    broker.away_after = 99
    await broker.handler(delivery("en", "pt"))
    assert {name for _, _, name, _ in broker.published} == {"m.1.en", "m.1.pt"}
    assert provider.calls == 2  # the second time from the cache
