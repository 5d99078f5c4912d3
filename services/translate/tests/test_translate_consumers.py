"""What becomes of a job: the handler against a broker that only writes down."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from ashchat_core.admission.gate import Admission
from ashchat_core.amqp import Broker, BrokerUnavailableError, Delivery
from ashchat_core.errors import RetryError
from ashchat_core.messages import TranslateJob, TranslationResult
from ashchat_translate import consumers
from ashchat_translate.breaker import Breaker
from ashchat_translate.budgets import Budgets
from ashchat_translate.chain import Link
from ashchat_translate.providers import Answer
from ashchat_translate.service import Translator
from ashchat_translate.tokens import BRACKETS, TokenStyle

UNLIMITED = Budgets(Admission(), account_characters_per_day=1e9, paid_characters_per_day={})


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
    tokens: TokenStyle = BRACKETS
    calls = 0

    async def translate(self, texts: Sequence[str], source: str | None, target: str) -> Answer:
        self.calls += 1
        return Answer(tuple(f"{text} in {target}" for text in texts), source)


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
    translator = Translator(
        [Link(provider, Breaker())], Memory(), UNLIMITED, call_seconds=1, hold_seconds=0
    )
    consumers.register(cast("Broker", broker), translator, prefetch=7)
    return provider


def delivery(*targets: str, sender: str = "ana", attempts: int = 0) -> Delivery[TranslateJob]:
    job = TranslateJob(
        room="r", message="m", text_version=1, text="Hola", sender=sender, source="es",
        targets=targets, requested_at=datetime.now(UTC),
    )  # fmt: skip
    return Delivery(job, "m", None, None, redelivered=False, attempts=attempts)


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


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """A provider that answers only once the event is set."""
    go = asyncio.Event()
    translate = Shout.translate

    async def wait(self: Shout, texts: Sequence[str], source: str | None, target: str) -> Answer:
        await go.wait()
        return await translate(self, texts, source, target)

    monkeypatch.setattr(Shout, "translate", wait)
    return go


@pytest.mark.usefixtures("provider")
async def test_an_account_with_many_jobs_gives_way_to_others(
    broker: Notebook, stuck: asyncio.Event
) -> None:
    jobs = [
        asyncio.create_task(broker.handler(delivery("en")))
        for _ in range(consumers.JOBS_PER_ACCOUNT_MAX)
    ]
    await asyncio.sleep(0)
    with pytest.raises(RetryError):  # parked: it takes no place of the prefetch
        await broker.handler(delivery("en"))
    other = asyncio.create_task(broker.handler(delivery("en", sender="luz")))
    # Parked often enough: its readers are left with the original.
    await broker.handler(delivery("en", "pt", attempts=consumers.PARKED_TIMES_MAX))
    assert [(body.outcome, body.reason) for _, _, _, body in broker.published] == [
        ("failed", "too_many_requests")
    ] * 2
    stuck.set()
    await asyncio.gather(*jobs, other)
    await broker.handler(delivery("en"))
    assert broker.published[-1][3].outcome == "translated"
