"""The rules of translating, with providers and a cache that are plain Python."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ashchat_core.messages import TranslateJob
from ashchat_translate.breaker import Breaker
from ashchat_translate.providers import Answer, ProviderDownError, ProviderRefusedError
from ashchat_translate.service import Link, Outcome, Translator, cache_key


class Fake:
    """A provider of a test's own: answers by a function, counts its calls."""

    def __init__(self, answer: Callable[[str], str], name: str = "fake") -> None:
        self.name = name
        self.answer = answer
        self.calls = 0
        self.asked: tuple[str, str | None, str] | None = None

    async def translate(self, text: str, source: str | None, target: str) -> Answer:
        self.calls += 1
        self.asked = (text, source, target)
        await asyncio.sleep(0)
        return Answer(self.answer(text), source or "es")


class Memory(dict[str, str]):
    """A cache of a test's own."""

    async def get(self, key: str) -> str | None:  # type: ignore[override]
        return dict.get(self, key)

    async def put(self, key: str, value: str) -> None:
        self[key] = value


class Time:
    """Time that passes only during a sleep."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        await asyncio.sleep(0)


def translator(
    *providers: Fake, cache: Memory | None = None, time: Time | None = None
) -> Translator:
    time = time or Time()
    return Translator(
        [Link(provider, Breaker(threshold=3, clock=time)) for provider in providers],
        Memory() if cache is None else cache,
        call_seconds=5,
        hold_seconds=30,
        clock=time,
        sleep=time.sleep,
    )


def down(_: str) -> str:
    raise ProviderDownError("unreachable")


def refuses(_: str) -> str:
    raise ProviderRefusedError("pair_unsupported")


async def test_translated_with_everything_in_place() -> None:
    cache = Memory()
    provider = Fake(lambda text: text.replace("Hola", "Hello").replace("son las", "it is"))
    outcome = await translator(provider, cache=cache).translate(
        "Hola @ana, son las 10:30 👋", "es", "en"
    )
    assert outcome == Outcome("translated", "es", "Hello @ana, it is 10:30 👋", "fake")
    assert "ana" not in "".join(cache.values())


@pytest.mark.parametrize(
    ("text", "source", "target", "reason"),
    [
        ("Hola", "es", "es", "same_language"),
        ("Olá", "pt", "pt-BR", "same_language"),
        ("👍 42 https://a.example", "es", "en", "nothing_to_translate"),
        ("Bogotá", "es", "en", "equal"),
    ],
)
async def test_unchanged(text: str, source: str, target: str, reason: str) -> None:
    outcome = await translator(Fake(str)).translate(text, source, target)
    assert (outcome.outcome, outcome.text, outcome.reason) == ("unchanged", None, reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: "no token", "placeholder_lost"),
        (lambda text: text + " and so on" * 40, "translation_too_long"),
        (lambda text: text + " so" * 15, "translation_repetitive"),
        (refuses, "pair_unsupported"),
    ],
    ids=["token", "long", "loop", "refused"],
)
async def test_failed_shows_the_original(answer: Callable[[str], str], reason: str) -> None:
    cache = Memory()
    outcome = await translator(Fake(answer), cache=cache).translate("Hola @ana", "es", "en")
    assert outcome == Outcome("failed", "es", provider="fake", reason=reason)
    assert not cache


async def test_a_bad_target_is_an_answer_too() -> None:
    outcome = await translator(Fake(str)).translate("Hola", "es", "en|es")
    assert (outcome.outcome, outcome.reason) == ("failed", "target_unknown")


async def test_cached_across_messages_that_differ_in_what_is_kept() -> None:
    provider = Fake(lambda text: text.replace("Hola", "Hello"))
    service = translator(provider)
    assert (await service.translate("Hola @ana", "es", "en")).text == "Hello @ana"
    assert (await service.translate("Hola @luis", "es", "en")).text == "Hello @luis"
    assert provider.calls == 1
    await service.translate("Hola @luis", "es", "pt")
    assert provider.calls == 2


async def test_single_flight() -> None:
    provider = Fake(lambda text: text.replace("Hola", "Hello"))
    service = translator(provider)
    outcomes = await asyncio.gather(*(service.translate("Hola", "es", "en") for _ in range(20)))
    assert {outcome.text for outcome in outcomes} == {"Hello"}
    assert provider.calls == 1


async def test_held_while_the_provider_is_down_and_translated_when_it_is_back() -> None:
    time = Time()
    provider = Fake(lambda text: down(text) if time.now < 12 else "Hello")
    outcome = await translator(provider, time=time).translate("Hola", "es", "en")
    assert outcome.text == "Hello"
    assert 12 <= time.now < 30
    assert provider.calls < 20  # the breaker spared it most of them


async def test_down_for_too_long_is_failed() -> None:
    time = Time()
    outcome = await translator(Fake(down), time=time).translate("Hola", "es", "en")
    assert (outcome.outcome, outcome.provider) == ("failed", "fake")
    assert outcome.reason in {"provider_unreachable", "provider_unavailable"}
    assert 30 <= time.now <= 31


async def test_a_call_that_hangs_is_a_time_out() -> None:
    class Hangs(Fake):
        async def translate(self, text: str, source: str | None, target: str) -> Answer:
            await asyncio.Event().wait()
            return await super().translate(text, source, target)

    service = Translator(
        [Link(Hangs(str), Breaker())], Memory(), call_seconds=0.001, hold_seconds=0
    )
    assert (await service.translate("Hola", "es", "en")).reason == "provider_timeout"


@pytest.mark.parametrize("first", [down, refuses])
async def test_the_next_in_the_chain_is_asked_at_once(first: Callable[[str], str]) -> None:
    time = Time()
    service = translator(Fake(first, "one"), Fake(lambda _: "Hello", "two"), time=time)
    outcome = await service.translate("Hola", "es", "en")
    assert (outcome.text, outcome.provider, time.now) == ("Hello", "two", 0.0)


async def test_white_space_is_the_originals() -> None:
    provider = Fake(lambda _: "one  two\nthree ")
    assert (await translator(provider).translate(" uno dos\ntres\n", "es", "en")).text == (
        " one two\nthree\n"
    )


async def test_what_the_cache_holds_is_not_believed_blindly() -> None:
    cache = Memory()
    cache[cache_key("Hola", "es", "en", "fake")] = "not json"
    provider = Fake(lambda _: "Hello")
    assert (await translator(provider, cache=cache).translate("Hola", "es", "en")).text == "Hello"


def test_cache_keys_tell_apart() -> None:
    keys = {
        cache_key("a", "es", "en", "fake"),
        cache_key("a", None, "en", "fake"),
        cache_key("a", "en", "es", "fake"),
        cache_key("a", "es", "en", "google"),
        cache_key("a", "es", "en", "fake", "1"),
        cache_key('a","es', "en", "fake", ""),
    }
    assert len(keys) == 6
    assert all(key.startswith("translate:") and len(key) == 76 for key in keys)


async def test_a_result_carries_the_jobs_names() -> None:
    job = TranslateJob(
        room="r", message="m", text_version=2, text="Hola", source=None, targets=("en",),
        requested_at=datetime.now(UTC),
    )  # fmt: skip
    result = await translator(Fake(lambda _: "Hello")).result(job, "en")
    assert (result.room, result.message, result.text_version, result.target) == ("r", "m", 2, "en")
    assert (result.outcome, result.text, result.source) == ("translated", "Hello", "es")
