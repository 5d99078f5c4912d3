"""Rules of translation: what is protected and cached, which provider is asked, how it fails.

Whatever goes wrong, the result has a reason, and the reader sees the original.
"""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from ashchat_core import languages
from ashchat_core.messages import TranslateJob, TranslationResult
from ashchat_translate import guards, metrics
from ashchat_translate.breaker import Breaker, BreakerOpenError
from ashchat_translate.placeholders import LostPlaceholderError, Protected, protect
from ashchat_translate.providers import Answer, Provider, ProviderDownError, ProviderRefusedError
from ashchat_translate.singleflight import SingleFlight

GLOSSARY_VERSION: Final = "0"
"""Version of the glossary (there is none yet), part of the cache key."""

BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.25, 4.0

_SPACES: Final = re.compile(r"(?<=\S) {2,}(?=\S)")


class Cache(Protocol):
    """Stores translations. It never raises: without it, every lookup is a miss."""

    async def get(self, key: str) -> str | None:
        """Return the value of a key; None on a miss."""
        ...

    async def put(self, key: str, value: str) -> None:
        """Store a value, which may be evicted at any time."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """One provider of the chain, with its breaker."""

    provider: Provider
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of translating one text into one language."""

    outcome: Literal["translated", "unchanged", "failed"]
    source: str | None
    text: str | None = None
    provider: str | None = None
    reason: str | None = None


class _FailedError(Exception):
    def __init__(self, reason: str, provider: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.provider = provider


@dataclass(frozen=True, slots=True)
class _Found:
    """A checked translation that still contains tokens."""

    text: str
    source: str | None
    provider: str


def cache_key(
    text: str, source: str | None, target: str, provider: str, glossary: str = GLOSSARY_VERSION
) -> str:
    """Return a cache key: a hash, so that keys reveal nothing about the text.

    The text contains tokens: messages differ in names and numbers more than in words, and the
    cache then contains no addresses or mentions.
    """
    fields = json.dumps([text, source, target, provider, glossary], ensure_ascii=False)
    return "translate:1:" + hashlib.sha256(fields.encode()).hexdigest()


class Translator:
    """Translates jobs.

    Args:
        chain: Providers in the order in which they are asked.
        cache: Stores translations.
        call_seconds: Maximum duration of one call of a provider.
        hold_seconds: How long a text waits for a provider that is down.
        clock: Returns monotonic seconds.
        sleep: Waits a number of seconds.
    """

    def __init__(
        self,
        chain: Sequence[Link],
        cache: Cache,
        *,
        call_seconds: float,
        hold_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._chain = tuple(chain)
        self._cache = cache
        self._call_seconds = call_seconds
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._sleep = sleep
        self._flights: SingleFlight[_Found] = SingleFlight()

    async def result(self, job: TranslateJob, target: str) -> TranslationResult:
        """Return a job's result in one language; an error of a provider is a result, too."""
        outcome = await self.translate(job.text, job.source, target)
        metrics.RESULTS.labels(outcome.outcome, outcome.reason or "", outcome.provider or "").inc()
        return TranslationResult(
            room=job.room,
            message=job.message,
            text_version=job.text_version,
            target=target,
            source=outcome.source,
            outcome=outcome.outcome,
            text=outcome.text,
            provider=outcome.provider,
            reason=outcome.reason,
        )

    async def translate(self, text: str, source: str | None, target: str) -> Outcome:
        """Translate a text, or return why it stays unchanged."""
        wanted, declared = languages.canonical(target), languages.canonical(source)
        spoken = None if declared == languages.UNKNOWN else declared
        if wanted == languages.UNKNOWN:
            return Outcome("failed", source, reason="target_unknown")
        if spoken is not None and languages.same(spoken, wanted):
            return Outcome("unchanged", source, reason="same_language")
        protected = protect(text)
        if not protected.translatable:
            return Outcome("unchanged", source, reason="nothing_to_translate")
        try:
            found, joined = await self._flights.run(
                (protected.text, spoken, wanted),
                lambda: self._through_chain(protected, spoken, wanted),
            )
        except _FailedError as failure:
            return Outcome("failed", source, provider=failure.provider, reason=failure.reason)
        if joined:
            metrics.SHARED.inc()
        detected = source or found.source
        restored = protected.restore(found.text)
        if restored == text:
            return Outcome("unchanged", detected, provider=found.provider, reason="equal")
        return Outcome("translated", detected, restored, found.provider)

    async def _through_chain(self, protected: Protected, source: str | None, target: str) -> _Found:
        """Ask the providers in order; while one is down, hold the text and start again.

        Raises:
            _FailedError: no provider succeeded in time.
        """
        deadline = self._clock() + self._hold_seconds
        attempt = 0
        while True:
            down: tuple[str, str] | None = None
            refused: tuple[str, str] | None = None
            wait = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2**attempt)
            for link in self._chain:
                name = link.provider.name
                try:
                    return await self._ask(link, protected, source, target)
                except BreakerOpenError as error:
                    down = down or ("provider_unavailable", name)
                    wait = min(wait, error.retry_in) if attempt else error.retry_in
                except ProviderDownError as error:
                    down = (f"provider_{error.reason}", name)
                except (ProviderRefusedError, _FailedError) as error:
                    refused = refused or (error.reason, name)
            if down is None:
                reason, name = refused or ("provider_unavailable", "")
                raise _FailedError(reason, name or None)
            left = deadline - self._clock()
            if left <= 0:
                raise _FailedError(*down)
            with metrics.HELD.track_inprogress():
                await self._sleep(min(max(wait, 0.01), left))
            attempt += 1

    async def _ask(
        self, link: Link, protected: Protected, source: str | None, target: str
    ) -> _Found:
        provider = link.provider
        key = cache_key(protected.text, source, target, provider.name)
        cached = _decode(await self._cache.get(key))
        if cached is not None:
            return _Found(cached.text, cached.source, provider.name)
        link.breaker.enter()
        answer = await self._call(link, protected.text, source, target)
        text = _tidy(protected.text, answer.text)
        try:
            protected.restore(text)
        except LostPlaceholderError:
            raise _FailedError("placeholder_lost", provider.name) from None
        wrong = guards.fault(protected.text, text)
        if wrong is not None:
            raise _FailedError(f"translation_{wrong}", provider.name)
        await self._cache.put(key, json.dumps([text, answer.source], ensure_ascii=False))
        return _Found(text, answer.source, provider.name)

    async def _call(self, link: Link, text: str, source: str | None, target: str) -> Answer:
        name = link.provider.name
        started = self._clock()
        outcome = "cancelled"
        try:
            async with asyncio.timeout(self._call_seconds):
                answer = await link.provider.translate(text, source, target)
        except TimeoutError:
            outcome = "timeout"
            link.breaker.failure()
            raise ProviderDownError("timeout") from None
        except ProviderDownError as error:
            outcome = error.reason
            link.breaker.failure()
            raise
        except ProviderRefusedError as error:
            outcome = error.reason
            link.breaker.success()
            raise
        else:
            outcome = "answered"
            link.breaker.success()
            return answer
        finally:
            metrics.CALLS.labels(name, outcome).inc()
            metrics.CALL_SECONDS.labels(name).observe(self._clock() - started)


def _decode(value: str | None) -> Answer | None:
    """Return a cached answer; an invalid entry is a miss."""
    if value is None:
        return None
    try:
        text, source = json.loads(value)
    except ValueError:
        return None
    if not isinstance(text, str) or not (source is None or isinstance(source, str)):
        return None
    return Answer(text, source)


def _tidy(original: str, translation: str) -> str:
    """Give a translation the original's outer white space, and collapse repeated spaces.

    Apertium leaves two spaces where it omits a word.
    """
    inner = translation.strip()
    if not _SPACES.search(original):
        inner = _SPACES.sub(" ", inner)
    lead = original[: len(original) - len(original.lstrip())]
    trail = original[len(original.rstrip()) :]
    return f"{lead}{inner}{trail}"
