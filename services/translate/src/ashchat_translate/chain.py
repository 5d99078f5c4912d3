"""The providers in the order in which they are asked, and what keeps one from being asked.

A failure counts against the pair of languages that it happened in, and against the provider only
if it concerns all of its pairs.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from ashchat_core.fairness import FairTurns, Lane
from ashchat_translate import metrics
from ashchat_translate.breaker import Breaker, BreakerOpenError
from ashchat_translate.budgets import Budgets
from ashchat_translate.providers import Answer, Provider, ProviderDownError, ProviderRefusedError
from ashchat_translate.singleflight import SingleFlight

GLOSSARY_VERSION: Final = "0"
"""Version of the glossary (there is none yet), part of the cache key."""

CALLS_PER_PAIR: Final = 4
"""Maximum concurrent calls of one provider in one pair of languages."""


class Cache(Protocol):
    """Stores translations. It never raises: without it, every lookup is a miss."""

    async def get(self, key: str) -> str | None:
        """Return the value of a key; None on a miss."""
        ...

    async def put(self, key: str, value: str) -> None:
        """Store a value, which may be evicted at any time."""
        ...


@dataclass(frozen=True, slots=True)
class Languages:
    """A pair of languages, the source as far as it is known."""

    source: str | None
    target: str


class UnavailableError(Exception):
    """A provider cannot translate now; a later call may succeed.

    Attributes:
        reason: Why, for machines.
        pair_only: Whether other pairs of languages are unaffected.
        retry_in: When a call makes sense, in seconds; None: unknown.
    """

    def __init__(self, reason: str, *, pair_only: bool, retry_in: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pair_only = pair_only
        self.retry_in = retry_in


class Link:
    """One provider of the chain, with a breaker for all of it and one for each pair.

    Args:
        provider: The provider.
        breaker: The breaker for failures that concern all pairs.
        pair_breaker: Makes the breaker of a pair.
    """

    def __init__(
        self, provider: Provider, breaker: Breaker, pair_breaker: Callable[[], Breaker] = Breaker
    ) -> None:
        self.provider = provider
        self._breaker = breaker
        self._pair_breaker = pair_breaker
        self._pairs: dict[Languages, Breaker] = {}
        self._turns: dict[Languages, FairTurns] = {}

    def turn(self, pair: Languages, lane: Lane) -> AbstractAsyncContextManager[None]:
        """Return a context that waits for a turn to call the provider."""
        return self._turns.setdefault(pair, FairTurns(CALLS_PER_PAIR)).turn(lane)

    def enter(self, pair: Languages) -> None:
        """Allow a call.

        Raises:
            UnavailableError: the provider must not be called now.
        """
        for breaker, pair_only in ((self._breaker, False), (self._breaker_of(pair), True)):
            try:
                breaker.enter()
            except BreakerOpenError as error:
                raise UnavailableError(
                    "provider_unavailable", pair_only=pair_only, retry_in=error.retry_in
                ) from None

    def answered(self, pair: Languages) -> None:
        """Record that the provider responded, even if it rejected the call."""
        self._breaker.success()
        self._breaker_of(pair).success()

    def failed(self, pair: Languages, *, pair_only: bool) -> None:
        """Record a failure, against the pair or against the provider."""
        if pair_only:
            self._breaker.success()
            self._breaker_of(pair).failure()
        else:
            self._breaker.failure()

    def _breaker_of(self, pair: Languages) -> Breaker:
        if pair not in self._pairs:
            self._pairs[pair] = self._pair_breaker()
        return self._pairs[pair]


class Calls:
    """Asks providers: first the cache, and once for all who wait for the same.

    Args:
        cache: Stores translations.
        budgets: What providers may cost.
        call_seconds: Maximum duration of one call of a provider.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        cache: Cache,
        budgets: Budgets,
        *,
        call_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._budgets = budgets
        self._call_seconds = call_seconds
        self._clock = clock
        self._flights: SingleFlight[Answer] = SingleFlight()

    async def ask(self, link: Link, texts: tuple[str, ...], pair: Languages, lane: Lane) -> Answer:
        """Return a provider's translations.

        Raises:
            UnavailableError: not now.
            ProviderRefusedError: the provider does not support the texts or the languages, or its
                budget is spent.
        """
        answer, joined = await self._flights.run(
            (link.provider.name, texts, pair), lambda: self._cached(link, texts, pair, lane)
        )
        if joined:
            metrics.SHARED.inc()
        return answer

    async def _cached(
        self, link: Link, texts: tuple[str, ...], pair: Languages, lane: Lane
    ) -> Answer:
        key = cache_key(texts, pair, link.provider.name)
        cached = _decode(await self._cache.get(key), len(texts))
        if cached is not None:
            return replace(cached, is_cached=True)
        async with link.turn(pair, lane):
            link.enter(pair)
            return await self._paid_call(link, texts, pair)

    async def remember(
        self, link: Link, texts: tuple[str, ...], pair: Languages, answer: Answer
    ) -> None:
        """Cache translations that were found to be usable."""
        key = cache_key(texts, pair, link.provider.name)
        await self._cache.put(key, json.dumps([answer.texts, answer.source], ensure_ascii=False))

    async def _paid_call(self, link: Link, texts: tuple[str, ...], pair: Languages) -> Answer:
        name = link.provider.name
        if not await self._budgets.spend(name, texts):
            link.answered(pair)
            raise ProviderRefusedError("provider_budget")
        try:
            return await self._call(link, texts, pair)
        except UnavailableError:
            await self._budgets.refund(name, texts)
            raise

    async def _call(self, link: Link, texts: tuple[str, ...], pair: Languages) -> Answer:
        name = link.provider.name
        started = self._clock()
        outcome = "cancelled"
        try:
            async with asyncio.timeout(self._call_seconds):
                answer = await link.provider.translate(texts, pair.source, pair.target)
            _check_count(answer, texts)
        except TimeoutError:
            outcome = "timeout"
            link.failed(pair, pair_only=True)
            raise UnavailableError("provider_timeout", pair_only=True) from None
        except ProviderDownError as error:
            outcome = error.reason
            link.failed(pair, pair_only=error.pair_only)
            raise UnavailableError(f"provider_{error.reason}", pair_only=error.pair_only) from None
        except ProviderRefusedError as error:
            outcome = error.reason
            link.answered(pair)
            raise
        else:
            outcome = "answered"
            link.answered(pair)
            return answer
        finally:
            metrics.CALLS.labels(name, outcome).inc()
            metrics.CALL_SECONDS.labels(name).observe(self._clock() - started)


def _check_count(answer: Answer, texts: tuple[str, ...]) -> None:
    if len(answer.texts) != len(texts):
        raise ProviderDownError("broken", pair_only=True)


def cache_key(
    texts: tuple[str, ...], pair: Languages, provider: str, glossary: str = GLOSSARY_VERSION
) -> str:
    """Return a cache key: a hash, so that keys reveal nothing about the texts.

    The texts have tokens for their atoms: messages differ in names more than in words, and the
    cache then contains no addresses or mentions.
    """
    fields = json.dumps([texts, pair.source, pair.target, provider, glossary], ensure_ascii=False)
    return "translate:2:" + hashlib.sha256(fields.encode()).hexdigest()


def _decode(value: str | None, count: int) -> Answer | None:
    """Return a cached answer; an invalid entry is a miss."""
    if value is None:
        return None
    try:
        texts, source = json.loads(value)
    except (ValueError, TypeError):
        return None
    is_valid = isinstance(texts, list) and len(texts) == count
    if not is_valid or not all(isinstance(text, str) for text in texts):
        return None
    return Answer(tuple(texts), source if isinstance(source, str) else None)
