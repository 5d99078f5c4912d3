"""Rules of translation: what is translated, which provider is asked, how it fails.

Whatever goes wrong, the result has a reason, and the reader sees the original.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from ashchat_core import languages
from ashchat_core.fairness import FairTurns, Lane
from ashchat_core.messages import TranslateJob, TranslationResult
from ashchat_translate import metrics
from ashchat_translate.budgets import Budgets
from ashchat_translate.chain import Cache, Calls, Languages, Link, UnavailableError
from ashchat_translate.detection import Habits, Judgement, judge
from ashchat_translate.document import Document, parse
from ashchat_translate.providers import ProviderRefusedError
from ashchat_translate.roundtrip import RoundTrip

BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.25, 4.0

HELD_PER_PAIR_MAX: Final = 8
"""Maximum texts held for a pair of languages that fails while others work."""

_LONG_CHARS: Final = 400
"""Length from which a text is parsed in a thread."""

_ResultT = TypeVar("_ResultT")

_FOREIGN_WORDS_MIN: Final = 3
"""Words from which a sentence among others is judged by itself."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of translating one text into one language."""

    outcome: Literal["translated", "unchanged", "failed"]
    source: str | None
    text: str | None = None
    provider: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text that was parsed and judged, once for all of its targets.

    Attributes:
        document: The text.
        declared: The sender's language; None if it is unknown.
        judgement: Which language the text is in.
        foreign: Numbers of the sentences that are in another language.
        lane: Whose text it is.
    """

    document: Document
    declared: str | None
    judgement: Judgement
    foreign: frozenset[int]
    lane: Lane


class _FailedError(Exception):
    def __init__(self, reason: str, provider: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.provider = provider


@dataclass(frozen=True, slots=True)
class _Found:
    """A translation that has passed all checks."""

    text: str
    source: str | None
    provider: str


class Translator:
    """Translates jobs.

    Args:
        chain: Providers in the order in which they are asked.
        cache: Stores translations.
        budgets: How much may be translated.
        call_seconds: Maximum duration of one call of a provider.
        hold_seconds: How long a text waits for a provider that is down.
        clock: Returns monotonic seconds.
        sleep: Waits a number of seconds.
    """

    def __init__(
        self,
        chain: Sequence[Link],
        cache: Cache,
        budgets: Budgets,
        *,
        call_seconds: float,
        hold_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._chain = tuple(chain)
        self._budgets = budgets
        self._calls = Calls(cache, budgets, call_seconds=call_seconds, clock=clock)
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._sleep = sleep
        self._habits = Habits()
        self._held: Counter[Languages] = Counter()
        self._computing = FairTurns(1)

    async def prepare(self, job: TranslateJob) -> Prepared:
        """Parse a job's text, and find out which language it is in."""
        lane = Lane(job.sender, job.room)
        return await self._compute(lane, len(job.text), lambda: self._prepare(job, lane))

    async def _compute(self, lane: Lane, chars: int, work: Callable[[], _ResultT]) -> _ResultT:
        """Do what takes time in proportion to a text: one text at a time, and in turns.

        A long one goes to a thread, where it delays others by a time slice only.
        """
        async with self._computing.turn(lane):
            return work() if chars < _LONG_CHARS else await asyncio.to_thread(work)

    def _prepare(self, job: TranslateJob, lane: Lane) -> Prepared:
        tag = languages.canonical(job.source)
        declared = None if tag == languages.UNKNOWN else tag
        document = parse(job.text, languages.language(declared or "en"))
        words = [sentence.words for sentence in document.sentences]
        judgement = self._habits.judge(" ".join(words), declared, job.sender)
        foreign: frozenset[int] = frozenset()
        if judgement.verdict == "declared" and len(words) > 1:
            foreign = frozenset(
                number for number, text in enumerate(words) if _is_foreign(text, declared)
            )
        return Prepared(document, declared, judgement, foreign, lane)

    async def result(self, job: TranslateJob, prepared: Prepared, target: str) -> TranslationResult:
        """Return a job's result in one language; an error of a provider is a result, too."""
        outcome = await self.translate(prepared, target)
        metrics.RESULTS.labels(outcome.outcome, outcome.reason or "", outcome.provider or "").inc()
        return result(job, target, outcome)

    async def translate(self, prepared: Prepared, target: str) -> Outcome:
        """Translate a text, or return why it stays unchanged."""
        wanted = languages.canonical(target)
        source = prepared.judgement.language
        if wanted == languages.UNKNOWN:
            return Outcome("failed", source, reason="target_unknown")
        reason = _why_unchanged(prepared, wanted)
        if reason is not None:
            return Outcome("unchanged", source, reason=reason)
        if not await self._budgets.allow(prepared.lane.account, len(prepared.document.source)):
            return Outcome("failed", source, reason="account_budget")
        try:
            found = await self._through_chain(prepared, Languages(source, wanted))
        except _FailedError as failure:
            return Outcome("failed", source, provider=failure.provider, reason=failure.reason)
        detected = source or found.source
        if found.text == prepared.document.source:
            return Outcome("unchanged", detected, provider=found.provider, reason="equal")
        return Outcome("translated", detected, found.text, found.provider)

    async def _through_chain(self, prepared: Prepared, pair: Languages) -> _Found:
        """Ask the providers in order; while one is down, hold the text and start again.

        Raises:
            _FailedError: no provider succeeded in time.
        """
        deadline = self._clock() + self._hold_seconds
        attempt = 0
        while True:
            down: UnavailableError | None = None
            down_name = ""
            refused: _FailedError | None = None
            for link in self._chain:
                try:
                    return await self._ask(link, prepared, pair)
                except UnavailableError as error:
                    if down is None or error.retry_in is None:
                        down, down_name = error, link.provider.name
                except ProviderRefusedError as error:
                    refused = refused or _FailedError(error.reason, link.provider.name)
                except _FailedError as error:
                    refused = refused or error
            if down is None:
                raise refused or _FailedError("provider_unavailable")
            left = deadline - self._clock()
            if left <= 0 or (down.pair_only and self._held[pair] >= HELD_PER_PAIR_MAX):
                raise _FailedError(down.reason, down_name)
            await self._hold(pair, min(_wait(down, attempt), left))
            attempt += 1

    async def _hold(self, pair: Languages, seconds: float) -> None:
        self._held[pair] += 1
        try:
            with metrics.HELD.track_inprogress():
                await self._sleep(max(seconds, 0.01))
        finally:
            self._held[pair] -= 1
            if not self._held[pair]:
                del self._held[pair]

    async def _ask(self, link: Link, prepared: Prepared, pair: Languages) -> _Found:
        provider = link.provider
        lane, chars = prepared.lane, len(prepared.document.source)
        trip = RoundTrip(prepared.document, provider.tokens, prepared.foreign)
        texts = await self._compute(lane, chars, lambda: trip.texts)
        if not texts:
            raise _FailedError("nothing_to_send", provider.name)
        answer = await self._calls.ask(link, texts, pair, lane)
        answers = dict(zip(texts, answer.texts, strict=True))
        found = await self._compute(lane, chars, lambda: trip.finish(answers))
        for reason, times in found.kept.items():
            metrics.KEPT.labels(reason).inc(times)
        if not found.translated:
            raise _FailedError(found.kept.most_common(1)[0][0], provider.name)
        if not answer.is_cached:
            await self._calls.remember(link, texts, pair, answer)
        return _Found(found.text, answer.source, provider.name)


def result(job: TranslateJob, target: str, outcome: Outcome) -> TranslationResult:
    """Return the message to chat about an outcome."""
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


def _why_unchanged(prepared: Prepared, target: str) -> str | None:
    """Return why a text needs no translation, or must not get one; None if it does."""
    if not prepared.document.sentences:
        return "nothing_to_translate"
    spoken = (prepared.judgement.language, prepared.declared)
    if any(tag is not None and languages.same(tag, target) for tag in spoken):
        return "same_language"
    if prepared.judgement.verdict == "unsure" and prepared.declared is not None:
        return "language_unsure"
    return None


def _wait(down: UnavailableError, attempt: int) -> float:
    """Return how long to hold a text, in seconds."""
    backoff: float = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2.0**attempt)
    if down.retry_in is None:
        return backoff
    return min(backoff, down.retry_in) if attempt else down.retry_in


def _is_foreign(text: str, declared: str | None) -> bool:
    if len(text.split()) < _FOREIGN_WORDS_MIN:
        return False
    return judge(text, declared).verdict == "other"
