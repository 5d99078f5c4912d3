"""The rules of translating, with providers and a cache that are plain Python."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from ashchat_core.admission.gate import Admission
from ashchat_core.messages import TranslateJob
from ashchat_translate.breaker import Breaker
from ashchat_translate.budgets import Budgets
from ashchat_translate.chain import CALLS_PER_PAIR, Languages, Link, cache_key
from ashchat_translate.providers import Answer, ProviderDownError, ProviderRefusedError
from ashchat_translate.service import HELD_PER_PAIR_MAX, Outcome, Translator
from ashchat_translate.tokens import BRACKETS, TokenStyle
from engines import shout


class Fake:
    """A provider of a test's own: answers by a function, counts its calls."""

    tokens: TokenStyle = BRACKETS

    def __init__(self, answer: Callable[[str], str], name: str = "fake") -> None:
        self.name = name
        self.answer = answer
        self.calls = 0
        self.asked: list[tuple[Sequence[str], str | None, str]] = []

    async def translate(self, texts: Sequence[str], source: str | None, target: str) -> Answer:
        self.calls += 1
        self.asked.append((texts, source, target))
        await asyncio.sleep(0)
        return Answer(tuple(map(self.answer, texts)), source or "es")


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


def budgets(account: float = 1e6, paid: float = 1e6) -> Budgets:
    return Budgets(
        Admission(), account_characters_per_day=account, paid_characters_per_day={"paid": paid}
    )


def translator(
    *providers: Fake,
    cache: Memory | None = None,
    time: Time | None = None,
    budget: Budgets | None = None,
) -> Translator:
    time = time or Time()
    return Translator(
        [
            Link(
                provider, Breaker(threshold=3, clock=time), lambda: Breaker(threshold=3, clock=time)
            )
            for provider in providers
        ],
        Memory() if cache is None else cache,
        budget or budgets(),
        call_seconds=5,
        hold_seconds=30,
        clock=time,
        sleep=time.sleep,
    )


def job(text: str, source: str | None = "es", sender: str = "ana", room: str = "r") -> TranslateJob:
    return TranslateJob(
        room=room, message="m", text_version=2, text=text, sender=sender, source=source,
        targets=("en",), requested_at=datetime.now(UTC),
    )  # fmt: skip


async def translate(
    service: Translator, text: str, source: str | None, target: str, sender: str = "ana"
) -> Outcome:
    return await service.translate(await service.prepare(job(text, source, sender)), target)


def down(_: str) -> str:
    raise ProviderDownError("unreachable")


def refuses(_: str) -> str:
    raise ProviderRefusedError("pair_unsupported")


async def test_translated_with_everything_in_place() -> None:
    cache = Memory()
    provider = Fake(lambda text: text.replace("Hola", "Hello").replace("son las", "it is"))
    outcome = await translate(
        translator(provider, cache=cache), "Hola @ana, son las 10:30 👋", "es", "en"
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
    outcome = await translate(translator(Fake(str)), text, source, target)
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
    service = translator(Fake(answer), cache=cache)
    outcome = await translate(service, "Dile a @ana hola", "es", "en")
    assert outcome == Outcome("failed", "es", provider="fake", reason=reason)
    assert not cache


async def test_a_bad_target_is_an_answer_too() -> None:
    outcome = await translate(translator(Fake(str)), "Hola", "es", "en|es")
    assert (outcome.outcome, outcome.reason) == ("failed", "target_unknown")


async def test_cached_across_messages_that_differ_in_what_is_kept() -> None:
    provider = Fake(lambda text: text.replace("Hola", "Hello"))
    service = translator(provider)
    assert (await translate(service, "Hola @ana", "es", "en")).text == "Hello @ana"
    assert (await translate(service, "Hola @luis", "es", "en")).text == "Hello @luis"
    assert provider.calls == 1
    await translate(service, "Hola @luis", "es", "pt")
    assert provider.calls == 2


async def test_single_flight() -> None:
    provider = Fake(lambda text: text.replace("Hola", "Hello"))
    service = translator(provider)
    outcomes = await asyncio.gather(*(translate(service, "Hola", "es", "en") for _ in range(20)))
    assert {outcome.text for outcome in outcomes} == {"Hello"}
    assert provider.calls == 1


async def test_held_while_the_provider_is_down_and_translated_when_it_is_back() -> None:
    time = Time()
    provider = Fake(lambda text: down(text) if time.now < 12 else "Hello")
    outcome = await translate(translator(provider, time=time), "Hola", "es", "en")
    assert outcome.text == "Hello"
    assert 12 <= time.now < 30
    assert provider.calls < 20  # the breaker spared it most of them


async def test_down_for_too_long_is_failed() -> None:
    time = Time()
    outcome = await translate(translator(Fake(down), time=time), "Hola", "es", "en")
    assert (outcome.outcome, outcome.provider) == ("failed", "fake")
    assert outcome.reason in {"provider_unreachable", "provider_unavailable"}
    assert 30 <= time.now <= 31


async def test_a_call_that_hangs_is_a_time_out() -> None:
    class Hangs(Fake):
        async def translate(self, texts: Sequence[str], source: str | None, target: str) -> Answer:
            await asyncio.Event().wait()
            return await super().translate(texts, source, target)

    service = Translator(
        [Link(Hangs(str), Breaker())], Memory(), budgets(), call_seconds=0.001, hold_seconds=0
    )
    assert (await translate(service, "Hola", "es", "en")).reason == "provider_timeout"


@pytest.mark.parametrize("first", [down, refuses])
async def test_the_next_in_the_chain_is_asked_at_once(first: Callable[[str], str]) -> None:
    time = Time()
    service = translator(Fake(first, "one"), Fake(lambda _: "Hello", "two"), time=time)
    outcome = await translate(service, "Hola", "es", "en")
    assert (outcome.text, outcome.provider, time.now) == ("Hello", "two", 0.0)


async def test_white_space_is_the_originals() -> None:
    provider = Fake(lambda text: text.replace("uno dos", " one  two ").replace("tres", "three"))
    assert (await translate(translator(provider), " uno dos\ntres\n", "es", "en")).text == (
        " one two\nthree\n"
    )


@pytest.mark.parametrize("held", ["not json", "[]", '[["a", "b"], "es"]', '[[1], "es"]', "3"])
async def test_what_the_cache_holds_is_not_believed_blindly(held: str) -> None:
    cache = Memory()
    cache[cache_key(("Hola",), Languages("es", "en"), "fake")] = held
    provider = Fake(lambda _: "Hello")
    assert (await translate(translator(provider, cache=cache), "Hola", "es", "en")).text == "Hello"


def test_cache_keys_tell_apart() -> None:
    es_en = Languages("es", "en")
    keys = {
        cache_key(("a",), es_en, "fake"),
        cache_key(("a", ""), es_en, "fake"),
        cache_key(("a",), Languages(None, "en"), "fake"),
        cache_key(("a",), Languages("en", "es"), "fake"),
        cache_key(("a",), es_en, "google"),
        cache_key(("a",), es_en, "fake", "1"),
        cache_key(('a"],"es',), es_en, "fake", ""),
    }
    assert len(keys) == 7
    assert all(key.startswith("translate:") and len(key) == 76 for key in keys)


async def test_a_result_carries_the_jobs_names() -> None:
    service = translator(Fake(lambda _: "Hello"))
    asked = job("Hola", source=None)
    result = await service.result(asked, await service.prepare(asked), "en")
    assert (result.room, result.message, result.text_version, result.target) == ("r", "m", 2, "en")
    assert (result.outcome, result.text, result.source) == ("translated", "Hello", "es")


@pytest.mark.parametrize(
    ("text", "outcome", "reason"),
    [
        ("Come here once a day, the red pan is sin.", "unchanged", "same_language"),
        ("See you at ten", "unchanged", "same_language"),
        ("Ok, nos vemos at the office", "unchanged", "language_unsure"),
        ("Buenos días", "translated", None),
        ("no se, ya veremos", "translated", None),
    ],
)
async def test_only_what_is_in_the_declared_language_is_forced_through_it(
    text: str, outcome: str, reason: str | None
) -> None:
    provider = Fake(lambda text: f"{text} indeed")
    got = await translate(translator(provider), text, "es", "en")
    assert (got.outcome, got.reason) == (outcome, reason)
    assert provider.calls == (outcome == "translated")


async def test_a_text_plainly_in_another_language_is_translated_from_it() -> None:
    provider = Fake(lambda text: f"{text} indeed")
    got = await translate(translator(provider), "See you at the office tomorrow", "es", "pt")
    assert (got.outcome, got.source) == ("translated", "en")
    assert [asked[1:] for asked in provider.asked] == [("en", "pt")]


async def test_a_sentence_in_another_language_stays_as_it_was_written() -> None:
    provider = Fake(lambda text: f"{text.rstrip('.')} indeed.")
    text = "Mañana tengo mucho trabajo en casa. See you at the office. Hasta luego, amigos."
    got = await translate(translator(provider), text, "es", "en")
    assert got.text == (
        "Mañana tengo mucho trabajo en casa indeed. See you at the office. "
        "Hasta luego, amigos indeed."
    )


async def test_the_senders_habit_decides_where_a_text_does_not_tell() -> None:
    service = translator(Fake(lambda text: f"{text} indeed"))
    short = "on my way"
    assert (await translate(service, short, "es", "pt", "eva")).source == "es"
    for text in ("I will be at the office", "See you there at ten", "The meeting is at noon today"):
        await translate(service, text, "es", "pt", "eva")
    assert (await translate(service, short, "es", "pt", "eva")).source == "en"
    assert (await translate(service, short, "es", "pt", "luz")).source == "es"


def only_from(source: str) -> type[Fake]:
    """A provider whose pairs from one language fail, as one without a program does."""

    class Broken(Fake):
        async def translate(self, texts: Sequence[str], spoken: str | None, target: str) -> Answer:
            answer = await super().translate(texts, spoken, target)
            if spoken == source:
                raise ProviderDownError("broken", pair_only=True)
            return answer

    return Broken


def without_time(provider: Fake) -> Translator:
    """A translator that holds texts forever."""
    never = asyncio.Event()

    async def sleep(_: float) -> None:
        await never.wait()

    link = Link(provider, Breaker(threshold=3))
    return Translator([link], Memory(), budgets(), call_seconds=5, hold_seconds=30, sleep=sleep)


async def test_a_pair_that_fails_does_not_count_against_another() -> None:
    service = without_time(only_from("it")(lambda text: f"{text} indeed"))
    texts = [f"La casa numero {number} è molto grande" for number in range(6)]
    italian = [asyncio.create_task(translate(service, text, "it", "en")) for text in texts]
    await asyncio.wait(italian, timeout=0.1)
    async with asyncio.timeout(1):
        spanish = await translate(service, "Buenos días, tengo 2 casas", "es", "en")
    assert spanish.outcome == "translated"
    for task in italian:
        task.cancel()


async def test_few_texts_are_held_for_a_pair_that_fails_alone() -> None:
    service = without_time(only_from("it")(str))
    texts = [f"La casa numero {number} è molto grande" for number in range(HELD_PER_PAIR_MAX + 5)]
    tasks = [asyncio.create_task(translate(service, text, "it", "en")) for text in texts]
    done, held = await asyncio.wait(tasks, timeout=0.5, return_when=asyncio.ALL_COMPLETED)
    assert (len(done), len(held)) == (5, HELD_PER_PAIR_MAX)
    for task in held:
        task.cancel()


async def test_a_long_text_of_another_account_is_waited_for_once() -> None:
    """One account floods a pair; another one's text is the next but those in progress."""
    started: list[str] = []
    go = asyncio.Event()

    class Slow(Fake):
        async def translate(self, texts: Sequence[str], source: str | None, target: str) -> Answer:
            started.append(texts[0])
            await go.wait()
            return await super().translate(texts, source, target)

    service = translator(Slow(lambda text: f"{text} indeed"))
    flood = [
        asyncio.create_task(
            translate(service, f"La casa {number} es muy grande", "es", "en", "ana")
        )
        for number in range(40)
    ]
    await asyncio.sleep(0.1)
    honest = asyncio.create_task(translate(service, "Buenos días a todos", "es", "en", "luz"))
    await asyncio.sleep(0.05)
    assert len(started) == CALLS_PER_PAIR
    go.set()
    assert (await honest).outcome == "translated"
    assert started.index("Buenos días a todos") <= CALLS_PER_PAIR + 1
    await asyncio.gather(*flood)


SENTENCE = "Mañana por la mañana vamos todos juntos al mercado"


def words(number: int) -> str:
    """Return a text of 60 characters that no other number has."""
    return f"{SENTENCE} {number:09d}"


async def test_an_account_may_have_so_much_translated_a_day() -> None:
    service = translator(Fake(shout), budget=budgets(account=600))
    outcomes = [await translate(service, words(number), "es", "en") for number in range(15)]
    assert [outcome.outcome for outcome in outcomes] == ["translated"] * 10 + ["failed"] * 5
    assert outcomes[-1].reason == "account_budget"
    other = await translate(service, words(15), "es", "en", sender="luz")
    assert other.outcome == "translated", "another account"


async def test_a_paid_provider_is_sent_so_much_a_day_and_then_the_next_is_asked() -> None:
    paid, free = Fake(shout, "paid"), Fake(shout, "free")
    service = translator(paid, free, budget=budgets(paid=600))
    outcomes = [
        await translate(service, words(number), "es", "en", sender=f"account{number}")
        for number in range(15)
    ]
    assert [outcome.outcome for outcome in outcomes] == ["translated"] * 15
    assert [outcome.provider for outcome in outcomes][-1] == "free"
    assert sum(len(text) for texts, _, _ in paid.asked for text in texts) <= 600
    alone = translator(Fake(shout, "paid"), budget=budgets(paid=1))
    outcome = await translate(alone, words(0), "es", "en")
    assert outcome.outcome == "translated", "more than all of it, once"
    outcome = await translate(alone, words(1), "es", "en")
    assert (outcome.outcome, outcome.reason) == ("failed", "provider_budget")


async def test_what_is_cached_or_was_not_answered_costs_nothing() -> None:
    paid = Fake(shout, "paid")
    service = translator(paid, budget=budgets(paid=100))
    for _ in range(5):
        assert (await translate(service, words(0), "es", "en")).outcome == "translated"
    time = Time()
    broken = Fake(down, "paid")
    service = translator(broken, time=time, budget=budgets(paid=100))
    assert (await translate(service, words(0), "es", "en")).outcome == "failed"
    broken.answer = shout
    time.now += 3600
    assert (await translate(service, words(0), "es", "en")).outcome == "translated"
