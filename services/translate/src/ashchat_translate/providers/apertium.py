"""Apertium, through the HTTP API of apertium-apy (https://wiki.apertium.org/wiki/Apertium-apy).

Rule-based and offline, with the installed pairs; others go through intermediate languages (see
`pairs`).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import httpx2

from ashchat_translate.pairs import Pair, PairGraph
from ashchat_translate.providers import Answer, ProviderDownError, ProviderRefusedError, codes

PAIRS_SECONDS: Final = 300.0
"""How long the list of pairs is cached."""

PAIRS_RETRY_SECONDS: Final = 10.0
"""Minimum age of the list before it is read again because a pair is missing."""

IN_FLIGHT: Final = 8
"""Maximum concurrent calls: the engine runs one process per pair."""

CONNECT_SECONDS: Final = 2.0


class Apertium:
    """The provider `apertium`."""

    name = "apertium"

    def __init__(
        self, url: str, *, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = httpx2.AsyncClient(
            base_url=url,
            timeout=httpx2.Timeout(timeout, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=IN_FLIGHT),
            trust_env=False,  # the engine is in the same cluster, never behind a proxy
        )
        self._clock = clock
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._graph: PairGraph | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def translate(self, text: str, source: str | None, target: str) -> Answer:
        """Translate, in several steps if there is no direct pair."""
        if source is None:
            raise ProviderRefusedError("source_unknown")
        spoken, wanted = codes.apertium(source), codes.apertium(target)
        if spoken is None or wanted is None:
            raise ProviderRefusedError("pair_unsupported")
        steps = await self._path(spoken, wanted)
        async with self._slots:
            for step in steps:
                text = await self._step(text, step)
        return Answer(text, source)

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
                self._graph, self._read_at = PairGraph(rows), self._clock()
            return self._graph

    async def _step(self, text: str, step: Pair) -> str:
        # markUnknown=no: otherwise an unknown word is returned as "*word".
        body = await self._ask(
            "POST", "/translate", {"langpair": step.name, "q": text, "markUnknown": "no"}
        )
        try:
            translated = body["responseData"]["translatedText"]
        except (KeyError, TypeError):
            raise ProviderDownError("broken") from None
        if not isinstance(translated, str):
            raise ProviderDownError("broken")
        return translated

    async def _ask(self, method: str, path: str, form: dict[str, str] | None = None) -> Any:
        try:
            response = await self._client.request(method, path, data=form)
        except httpx2.TimeoutException:
            raise ProviderDownError("timeout") from None
        except httpx2.HTTPError:
            raise ProviderDownError("unreachable") from None
        if response.status_code in {400, 404, 413}:
            self._read_at = float("-inf")  # the pair was removed since the list was read
            raise ProviderRefusedError("refused")
        if response.status_code != httpx2.codes.OK:
            raise ProviderDownError("broken")
        try:
            return response.json()
        except ValueError:
            raise ProviderDownError("broken") from None
