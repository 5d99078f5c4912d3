"""The provider `apertium`, against a server that answers as apertium-apy does."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import httpx2
import pytest

from ashchat_translate.providers import ProviderDownError, ProviderRefusedError
from ashchat_translate.providers.apertium import PAIRS_SECONDS, Apertium


class Engine:
    """An engine with pairs of which some cannot run."""

    def __init__(self) -> None:
        self.pairs = [("spa", "eng"), ("eng", "spa"), ("ita", "spa"), ("spa", "ita")]
        self.broken: set[str] = set()
        self.down: Exception | None = None
        self.asked: list[tuple[str, str]] = []
        self.variant = ""

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self.down is not None:
            raise self.down
        if request.url.path == "/listPairs":
            rows = [{"sourceLanguage": one, "targetLanguage": two} for one, two in self.pairs]
            return httpx2.Response(200, json={"responseData": rows})
        form = {key: value[0] for key, value in parse_qs(request.content.decode()).items()}
        assert (form["markUnknown"], form["format"]) == ("no", "txt")
        self.asked.append((form["langpair"], form["q"]))
        if form["langpair"] in self.broken:
            # Seen: "No such file or directory: 'cg-proc'".
            return httpx2.Response(500, json={"status": "error", "code": 500})
        said = f"{self.variant}{form['q']}".replace("\n\n", f" {form['langpair'][4:]}\n\n")
        return httpx2.Response(
            200, json={"responseData": {"translatedText": f"{said} {form['langpair'][4:]}"}}
        )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def apertium(engine: Engine, clock: Clock) -> AsyncIterator[Apertium]:
    provider = Apertium("http://apertium", timeout=1, clock=clock)
    await provider.close()
    provider._client = httpx2.AsyncClient(
        base_url="http://apertium", transport=httpx2.MockTransport(engine)
    )
    yield provider
    await provider.close()


async def test_sentences_are_one_call_and_each_has_its_answer(
    apertium: Apertium, engine: Engine
) -> None:
    answer = await apertium.translate(("uno", "dos"), "es", "en")
    assert answer.texts == ("uno eng", "dos eng")
    assert [asked for asked in engine.asked if asked[1] != "a"] == [("spa|eng", "uno\n\ndos")]


async def test_through_another_language(apertium: Apertium) -> None:
    assert (await apertium.translate(("uno",), "it", "en")).texts == ("uno spa eng",)


async def test_a_pair_that_cannot_run_is_not_offered(
    apertium: Apertium, engine: Engine, clock: Clock
) -> None:
    engine.broken = {"ita|spa"}
    for target in ("es", "en"):
        with pytest.raises(ProviderRefusedError, match="pair_unsupported"):
            await apertium.translate(("casa",), "it", target)
    assert (await apertium.translate(("casa",), "es", "it")).texts == ("casa ita",)
    engine.broken = set()
    clock.now += PAIRS_SECONDS + 1
    assert (await apertium.translate(("casa",), "it", "es")).texts == ("casa spa",)


async def test_a_variant_takes_the_place_of_a_pair_that_cannot_run(
    apertium: Apertium, engine: Engine
) -> None:
    engine.pairs = [("spa", "por"), ("spa", "por_BR")]
    engine.broken = {"spa|por"}
    assert (await apertium.translate(("casa",), "es", "pt")).texts == ("casa por_BR",)


async def test_a_pair_that_breaks_later_fails_alone(apertium: Apertium, engine: Engine) -> None:
    await apertium.translate(("casa",), "it", "es")
    engine.broken = {"ita|spa"}
    with pytest.raises(ProviderDownError, match="broken") as error:
        await apertium.translate(("casa",), "it", "es")
    assert error.value.pair_only
    assert (await apertium.translate(("casa",), "es", "en")).texts == ("casa eng",)


@pytest.mark.parametrize(
    ("down", "reason", "pair_only"),
    [
        (httpx2.ConnectError("no"), "unreachable", False),
        (httpx2.ConnectTimeout("no"), "timeout", False),
        (httpx2.ReadTimeout("no"), "timeout", True),
    ],
)
async def test_whom_a_failure_concerns(
    apertium: Apertium,
    engine: Engine,
    down: Exception,
    reason: str,
    pair_only: bool,  # noqa: FBT001
) -> None:
    await apertium.translate(("casa",), "es", "en")
    engine.down = down
    with pytest.raises(ProviderDownError, match=reason) as error:
        await apertium.translate(("casa",), "es", "en")
    assert error.value.pair_only is pair_only


async def test_an_engine_that_is_away_says_nothing_about_its_pairs(
    apertium: Apertium, engine: Engine
) -> None:
    engine.down = httpx2.ConnectError("no")
    with pytest.raises(ProviderDownError):
        await apertium.translate(("casa",), "es", "en")
    engine.down = None
    assert (await apertium.translate(("casa",), "es", "en")).texts == ("casa eng",)


async def test_what_the_engine_says_about_its_words_is_not_shown(
    apertium: Apertium, engine: Engine
) -> None:
    engine.variant = "#Tienes @hambre "  # seen for "Hai fame?"
    assert (await apertium.translate(("uno",), "es", "en")).texts == ("Tienes hambre uno eng",)
    engine.variant = "हूं/हूँ "
    assert (await apertium.translate(("uno",), "es", "en")).texts == ("हूं uno eng",)
    assert (await apertium.translate(("y/o",), "es", "en")).texts == ("हूं/हूँ y/o eng",)


async def test_a_script_that_the_pairs_are_not_for(apertium: Apertium, engine: Engine) -> None:
    engine.pairs.append(("srp", "eng"))
    for source, target in (("sr-Latn", "en"), ("es", "hi-Latn")):
        with pytest.raises(ProviderRefusedError, match="pair_unsupported"):
            await apertium.translate(("kuća",), source, target)
    with pytest.raises(ProviderRefusedError, match="source_unknown"):
        await apertium.translate(("casa",), None, "en")
