"""The rules of translating: what is kept, what is cached, who is asked, what fails how.

The last link of every chain is the original: whatever goes wrong, a result says so, with
a reason, and the reader sees what was written.
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
from ashchat_translate.breaker import Breaker, BreakerOpen
from ashchat_translate.placeholders import LostPlaceholder, Protected, protect
from ashchat_translate.providers import Answer, Provider, ProviderDown, Refused
from ashchat_translate.singleflight import SingleFlight

GLOSSARY_VERSION: Final = "0"
"""No glossary yet; part of the key, so that one will not meet what was cached without it."""

BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.25, 4.0

_SPACES: Final = re.compile(r"(?<=\S) {2,}(?=\S)")


class Cache(Protocol):
    """Where translations are kept. It never raises: without it, everything is a miss."""

    async def get(self, key: str) -> str | None:
        """Return what was stored under a key."""
        ...

    async def put(self, key: str, value: str) -> None:
        """Store a value; it may be gone at any time."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """One provider of the chain, with its breaker."""

    provider: Provider
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one text in one language."""

    outcome: Literal["translated", "unchanged", "failed"]
    source: str | None
    text: str | None = None
    provider: str | None = None
    reason: str | None = None


class _Failed(Exception):
    def __init__(self, reason: str, provider: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.provider = provider


@dataclass(frozen=True, slots=True)
class _Found:
    """A checked translation, tokens still in it."""

    text: str
    source: str | None
    provider: str


def cache_key(
    text: str, source: str | None, target: str, provider: str, glossary: str = GLOSSARY_VERSION
) -> str:
    """Return the cache's key: a hash, so that keys tell nothing of what was said.

    The text is the one with tokens: what people wrote differs in names and numbers more
    than in words, and the cache then holds no address or mention either.
    """
    fields = json.dumps([text, source, target, provider, glossary], ensure_ascii=False)
    return "translate:1:" + hashlib.sha256(fields.encode()).hexdigest()


class Translator:
    """Translates jobs.

    Args:
        chain: providers in the order they are asked.
        cache: where translations are kept.
        call_seconds: how long one call of a provider may take.
        hold_seconds: how long a text waits for a provider that is down.
        clock: monotonic seconds; `sleep` waits so many. Tests give their own.
        sleep: see `clock`.
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
        """Return one language's result of a job; never raises for a provider's trouble."""
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
        """Translate a text, or say why it stays as it is."""
        wanted = languages.lower(target)
        spoken = languages.lower(source) if source else None
        if wanted is None:
            return Outcome("failed", source, reason="target_unknown")
        if spoken is not None and languages.same_script(spoken, wanted):
            return Outcome("unchanged", source, reason="same_language")
        protected = protect(text)
        if not protected.translatable:
            return Outcome("unchanged", source, reason="nothing_to_translate")
        try:
            found, joined = await self._flights.run(
                (protected.text, spoken, wanted),
                lambda: self._through_chain(protected, spoken, wanted),
            )
        except _Failed as failure:
            return Outcome("failed", source, provider=failure.provider, reason=failure.reason)
        if joined:
            metrics.SHARED.inc()
        detected = source or found.source
        restored = protected.restore(found.text)
        if restored == text:
            return Outcome("unchanged", detected, provider=found.provider, reason="equal")
        return Outcome("translated", detected, restored, found.provider)

    async def _through_chain(self, protected: Protected, source: str | None, target: str) -> _Found:
        """Ask the providers in order; while one is down, hold and begin again.

        Raises:
            _Failed: none of them could, or not in time.
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
                except BreakerOpen as error:
                    down = down or ("provider_unavailable", name)
                    wait = min(wait, error.retry_in) if attempt else error.retry_in
                except ProviderDown as error:
                    down = (f"provider_{error.reason}", name)
                except (Refused, _Failed) as error:
                    refused = refused or (error.reason, name)
            if down is None:
                reason, name = refused or ("provider_unavailable", "")
                raise _Failed(reason, name or None)
            left = deadline - self._clock()
            if left <= 0:
                raise _Failed(*down)
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
        except LostPlaceholder:
            raise _Failed("placeholder_lost", provider.name) from None
        wrong = guards.fault(protected.text, text)
        if wrong is not None:
            raise _Failed(f"translation_{wrong}", provider.name)
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
            raise ProviderDown("timeout") from None
        except ProviderDown as error:
            outcome = error.reason
            link.breaker.failure()
            raise
        except Refused as error:
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
    """Return a cached answer; what cannot be read is a miss."""
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
    """Give a translation the original's outer white space, and no doubled spaces of its own.

    Apertium leaves two spaces where it dropped a word.
    """
    inner = translation.strip()
    if not _SPACES.search(original):
        inner = _SPACES.sub(" ", inner)
    lead = original[: len(original) - len(original.lstrip())]
    trail = original[len(original.rstrip()) :]
    return f"{lead}{inner}{trail}"
