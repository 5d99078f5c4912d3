"""Codes of providers, pairs, guards, breaker, single flight, settings: rules without any I/O."""

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ashchat_core.settings import env_example
from ashchat_translate import atoms, guards
from ashchat_translate.breaker import Breaker, BreakerOpenError, State
from ashchat_translate.pairs import Pair, PairGraph
from ashchat_translate.providers import codes
from ashchat_translate.settings import Settings
from ashchat_translate.singleflight import SingleFlight

# codes


def test_codes_of_the_providers() -> None:
    assert codes.apertium("pt-BR") == "por"
    assert codes.apertium("sc") == "srd"
    assert codes.from_apertium("por_BR") == "por"
    assert codes.from_apertium("es") == "spa"


@pytest.mark.parametrize(
    ("tag", "google", "apertium"),
    [
        ("pt-BR", "pt", "por"),
        ("zh", "zh-CN", "zho"),
        ("zh-Hant", "zh-TW", None),
        ("zh-HK", "zh-TW", None),
        ("sr", "sr", "srp"),
        ("sr-Latn", "sr-Latn", None),
        ("pa-Arab", "pa-Arab", None),
        ("pa-PK", "pa-Arab", None),
        ("uz-Cyrl", "uz-Cyrl", None),
        ("hi-Latn", "hi-Latn", None),
    ],
)
def test_a_script_that_is_not_the_usual_one_is_asked_for_or_refused(
    tag: str, google: str, apertium: str | None
) -> None:
    assert (codes.google(tag), codes.apertium(tag)) == (google, apertium)


# pairs


def graph(*pairs: str) -> PairGraph:
    return PairGraph(Pair(*pair.split("|")) for pair in pairs)


DEBIAN = graph(
    "ita|spa", "spa|eng", "spa|por_BR", "por|spa", "spa|fra", "spa|eng_US", "spa|ita",
    "eng|spa", "spa|por", "fra|spa",
)  # fmt: skip


def names(path: tuple[Pair, ...] | None) -> list[str] | None:
    return None if path is None else [pair.name for pair in path]


@pytest.mark.parametrize(
    ("source", "target", "path"),
    [
        ("spa", "eng", ["spa|eng"]),  # not eng_US
        ("eng", "ita", ["eng|spa", "spa|ita"]),
        ("por", "eng", ["por|spa", "spa|eng"]),
        ("spa", "spa", []),
        ("eng", "deu", None),
        ("deu", "eng", None),
    ],
)
def test_path(source: str, target: str, path: list[str] | None) -> None:
    assert names(DEBIAN.path(source, target)) == path


def test_spanish_before_another_way_of_the_same_length() -> None:
    pairs = graph("eng|cat", "cat|ita", "eng|spa", "spa|ita")
    assert names(pairs.path("eng", "ita")) == ["eng|spa", "spa|ita"]


def test_shorter_before_spanish() -> None:
    assert names(graph("eng|spa", "spa|ita", "eng|ita").path("eng", "ita")) == ["eng|ita"]


def test_a_variant_is_better_than_nothing() -> None:
    assert names(graph("spa|por_BR").path("spa", "por")) == ["spa|por_BR"]


def test_no_way_of_more_than_three_steps() -> None:
    chain = graph("a|b", "b|c", "c|d", "d|e")
    assert names(chain.path("a", "d")) == ["a|b", "b|c", "c|d"]
    assert chain.path("a", "e") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef"))))
def test_a_path_is_connected(pairs: list[tuple[str, str]]) -> None:
    for target in "bcdef":
        path = PairGraph(Pair(*pair) for pair in pairs).path("a", target)
        if path is not None:
            assert path[0].source == "a"
            assert path[-1].target == target
            assert all(one.target == two.source for one, two in itertools.pairwise(path))


# guards


@pytest.mark.parametrize(
    ("original", "translation", "fault"),
    [
        ("Hola, ¿qué tal?", "Hello, how are you?", None),
        ("私は犬が好きです", "I like dogs very much indeed", None),
        ("jajajajajajajajajajajajaja", "hahahahahahahahahahahahaha", None),
        ("Hola", "  ", "empty"),
        ("Hola", "Hello " * 40, "too_long"),
        ("palabra " * 20, "word", "too_short"),
        ("una frase corta que se repite", "the phrase the phrase " * 6, "repetitive"),
    ],
)
def test_fault(original: str, translation: str, fault: str | None) -> None:
    assert guards.fault(original, translation) == fault


@given(st.text(max_size=60))
def test_a_text_is_no_fault_of_itself(text: str) -> None:
    assert guards.fault(text, text) is None


@given(st.text(min_size=4, max_size=12), st.integers(6, 20))
def test_repeats_are_counted(piece: str, times: int) -> None:
    assert guards.repeats(piece * times) >= times


# the breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_breaker_opens_rests_probes_and_closes() -> None:
    clock, states = Clock(), list[State]()
    breaker = Breaker(threshold=3, rest=1, rest_max=4, clock=clock, on_change=states.append)
    for _ in range(2):
        breaker.enter()
        breaker.failure()
    breaker.enter()
    breaker.success()  # not in a row
    for _ in range(3):
        breaker.enter()
        breaker.failure()
    assert breaker.state is State.OPEN
    with pytest.raises(BreakerOpenError) as refused:
        breaker.enter()
    assert refused.value.retry_in == 1

    clock.now = 1.0
    breaker.enter()  # the probe
    with pytest.raises(BreakerOpenError):
        breaker.enter()  # one at a time
    breaker.failure()
    clock.now = 2.9
    with pytest.raises(BreakerOpenError):
        breaker.enter()  # twice as long
    clock.now = 3.0
    breaker.enter()
    breaker.success()
    breaker.enter()
    assert states == [
        State.CLOSED, State.OPEN, State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.CLOSED,
    ]  # fmt: skip


def test_breaker_rests_at_most_so_long_and_survives_a_lost_probe() -> None:
    clock = Clock()
    breaker = Breaker(threshold=1, rest=1, rest_max=4, clock=clock)
    breaker.failure()
    for _ in range(5):
        clock.now += 4
        breaker.enter()
        breaker.failure()
    clock.now += 4
    breaker.enter()  # cancelled: reports neither success nor failure
    with pytest.raises(BreakerOpenError):
        breaker.enter()
    clock.now += 4
    breaker.enter()


def test_a_late_failure_does_not_prolong_the_rest() -> None:
    clock = Clock()
    breaker = Breaker(threshold=1, rest=1, clock=clock)
    breaker.enter()
    breaker.enter()
    breaker.failure()
    clock.now = 0.9
    breaker.failure()
    clock.now = 1.0
    breaker.enter()
    assert breaker.state is State.HALF_OPEN


# single flight


async def test_one_call_for_all_who_ask() -> None:
    flights: SingleFlight[int] = SingleFlight()
    calls = 0
    go = asyncio.Event()

    async def call() -> int:
        nonlocal calls
        calls += 1
        await go.wait()
        return calls

    waiting = [asyncio.create_task(flights.run("a", call)) for _ in range(3)]
    other = asyncio.create_task(flights.run("b", call))
    await asyncio.sleep(0)
    waiting[0].cancel()  # the first, which began it, goes away
    await asyncio.sleep(0)
    go.set()
    assert [await task for task in waiting[1:]] == [(2, True), (2, True)]
    assert await other == (2, False)
    assert len(flights) == 0
    assert await flights.run("a", call) == (3, False)  # finished calls are not remembered


async def test_everyone_gets_the_failure_and_the_last_one_out_ends_the_call() -> None:
    flights: SingleFlight[int] = SingleFlight()
    ended = asyncio.Event()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError

    both = await asyncio.gather(
        flights.run("a", fail), flights.run("a", fail), return_exceptions=True
    )
    assert [type(error) for error in both] == [ValueError, ValueError]

    async def hang() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    task = asyncio.create_task(flights.run("b", hang))
    await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait_for(ended.wait(), 1)
    assert len(flights) == 0


# settings


def test_env_example_is_what_the_settings_say() -> None:
    example = Path(__file__).parents[1] / ".env.example"
    assert example.read_text() == env_example(Settings)


def test_google_needs_a_project() -> None:
    with pytest.raises(ValidationError, match="ASHCHAT_GOOGLE_PROJECT"):
        Settings(_env_file=None, translate_provider="google")
    Settings(_env_file=None, translate_provider="google", google_project="p")


@pytest.mark.parametrize(
    ("word", "is_atom"),
    [("1st", False), ("20e", False), ("3er", False), ("1200o", False), ("38579e", True),
     ("90210a", True), ("3f9a0c", True)],
)  # fmt: skip
def test_an_ordinal_is_translated_and_an_identifier_is_an_atom(word: str, *, is_atom: bool) -> None:
    assert dict(atoms.split(f"casa {word} grande")).get(word, False) is is_atom
