"""Apertium, through the HTTP API of apertium-apy (https://wiki.apertium.org/wiki/Apertium-apy).

Rule-based and offline, with the installed pairs; others go through intermediate languages (see
`pairs`). A pair that the engine lists can lack a program or a dictionary, and then fails for every
text; so each pair translates a word before it is offered.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx2
import structlog

from ashchat_translate import metrics
from ashchat_translate.pairs import Pair, PairGraph
from ashchat_translate.providers import Answer, ProviderDownError, ProviderRefusedError, codes
from ashchat_translate.tokens import WORDS

PAIRS_SECONDS: Final = 300.0
"""How long the list of pairs is cached."""

PAIRS_RETRY_SECONDS: Final = 10.0
"""Minimum age of the list before it is read again because a pair is missing."""

PAIR_IN_FLIGHT: Final = 2
"""Maximum concurrent calls of one pair: the engine has one process for each."""

CONNECTIONS_MAX: Final = 32

CONNECT_SECONDS: Final = 2.0

PROBE: Final = "a"
"""A text that every pair that runs returns something for."""

_MARKS: Final = re.compile(r"[#@](?=\w)")
_VARIANTS: Final = re.compile(r"([^\s/]+)(?:/[^\s/]+)+")

_BETWEEN: Final = "\n\n"
"""An empty line ends a sentence for the engine, and comes back as it is."""


class Apertium:
    """The provider `apertium`."""

    name = "apertium"
    tokens = WORDS

    def __init__(
        self, url: str, *, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = httpx2.AsyncClient(
            base_url=url,
            timeout=httpx2.Timeout(timeout, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=CONNECTIONS_MAX),
            trust_env=False,  # the engine is in the same cluster, never behind a proxy
        )
        self._clock = clock
        self._slots: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(PAIR_IN_FLIGHT)
        )
        self._graph: PairGraph | None = None
        self._ran: set[Pair] = set()
        self._read_at = 0.0
        self._reading = asyncio.Lock()
        self._log = structlog.get_logger("apertium")

    async def translate(self, texts: Sequence[str], source: str | None, target: str) -> Answer:
        """Translate, in several steps if there is no direct pair."""
        if source is None:
            raise ProviderRefusedError("source_unknown")
        spoken, wanted = codes.apertium(source), codes.apertium(target)
        if spoken is None or wanted is None:
            raise ProviderRefusedError("pair_unsupported")
        text = _BETWEEN.join(texts)
        for step in await self._path(spoken, wanted):
            try:
                text = await self._step(text, step)
            except ProviderDownError as error:
                if error.pair_only:
                    self._ran.discard(step)
                raise
        answers = text.split(_BETWEEN)
        if len(answers) != len(texts):
            raise ProviderRefusedError("refused")
        return Answer(tuple(map(_readable, texts, answers)), source)

    async def watch(self) -> None:
        """Keep the list of pairs up to date, so that no text waits for it; until cancelled."""
        while True:
            try:
                await self._pairs(PAIRS_SECONDS / 2)
            except (ProviderDownError, ProviderRefusedError) as error:
                self._log.info("the pairs are not known yet", reason=str(error))
                await asyncio.sleep(PAIRS_RETRY_SECONDS)
            else:
                await asyncio.sleep(PAIRS_SECONDS / 2)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _path(self, source: str, target: str) -> tuple[Pair, ...]:
        graph = await self._pairs(PAIRS_SECONDS)
        path = graph.path(source, target)
        if path is None:
            path = (await self._pairs(PAIRS_RETRY_SECONDS)).path(source, target)
        if path is None:
            raise ProviderRefusedError("pair_unsupported")
        return path

    async def _pairs(self, max_age: float) -> PairGraph:
        async with self._reading:
            if self._graph is None or self._clock() - self._read_at > max_age:
                body = await self._ask("GET", "/listPairs")
                try:
                    rows = [
                        Pair(row["sourceLanguage"], row["targetLanguage"])
                        for row in body["responseData"]
                    ]
                except (KeyError, TypeError):
                    raise ProviderDownError("broken") from None
                self._graph = PairGraph(await self._usable(rows))
                self._read_at = self._clock()
            return self._graph

    async def _usable(self, listed: Sequence[Pair]) -> list[Pair]:
        """Return the pairs that translate, of those that the engine lists."""
        # One after another: a pair's first text makes the engine load its dictionaries. A pair
        # that ran is not tried again before it fails.
        usable = [pair for pair in listed if pair in self._ran or await self._runs(pair)]
        self._ran = set(usable)
        metrics.PAIRS.labels("usable").set(len(usable))
        metrics.PAIRS.labels("broken").set(len(listed) - len(usable))
        for pair in listed:
            if pair not in usable:
                self._log.error("a pair cannot run and is not offered", pair=pair.name)
        return usable

    async def _runs(self, pair: Pair) -> bool:
        try:
            return bool((await self._step(PROBE, pair)).strip())
        except ProviderRefusedError:
            return False
        except ProviderDownError as error:
            if not error.pair_only:
                raise  # the engine is away: nothing is known of its pairs
            return False

    async def _step(self, text: str, step: Pair) -> str:
        # markUnknown=no: otherwise an unknown word is returned as "*word". format=txt: otherwise
        # the text is read as HTML.
        form = {"langpair": step.name, "q": text, "markUnknown": "no", "format": "txt"}
        async with self._slots[step.name]:
            body = await self._ask("POST", "/translate", form)
        try:
            translated = body["responseData"]["translatedText"]
        except (KeyError, TypeError):
            raise ProviderDownError("broken", pair_only=True) from None
        if not isinstance(translated, str):
            raise ProviderDownError("broken", pair_only=True)
        return translated

    async def _ask(self, method: str, path: str, form: dict[str, str] | None = None) -> Any:
        of_pair = form is not None
        try:
            response = await self._client.request(method, path, data=form)
        except httpx2.ReadTimeout:
            raise ProviderDownError("timeout", pair_only=of_pair) from None
        except httpx2.TimeoutException:
            raise ProviderDownError("timeout") from None
        except httpx2.HTTPError:
            raise ProviderDownError("unreachable") from None
        if response.status_code in {400, 404, 413}:
            self._read_at = float("-inf")  # the pair was removed since the list was read
            raise ProviderRefusedError("refused")
        if response.status_code != httpx2.codes.OK:
            raise ProviderDownError("broken", pair_only=of_pair)
        try:
            return response.json()
        except ValueError:
            raise ProviderDownError("broken", pair_only=of_pair) from None


def _readable(text: str, answer: str) -> str:
    """Return an answer without what the engine says about its words.

    It marks words that it could not translate or inflect ("@casa", "#casa"), and lists those that
    it could not choose from ("a/b").
    """
    if not {"#", "@"} & set(text):
        answer = _MARKS.sub("", answer)
    return answer if "/" in text else _VARIANTS.sub(r"\1", answer)
