"""Trying what people give, beside the reconcile: a server may be slow, or away.

One task per candidate; its verdict is remembered for as long as the candidate is the same.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ashchat_core.api.reasons import Reason
from ashchat_operator.credentials import try_smtp
from ashchat_operator.credentials.candidates import Candidate, GoogleApi, ProvidedKind, Verdict

PATIENCE_SECONDS: Final = 0.7
"""A server that is near answers within this; then its verdict is in the same look."""

AWAY_FIRST_SECONDS: Final = 5.0
AWAY_MAX_SECONDS: Final = 300.0
REFUSED_SECONDS: Final = 900.0
"""What was refused may become right at the server. Not sooner: servers lock who tries on."""

_log = logging.getLogger(__name__)


async def attempt(candidate: Candidate) -> Verdict:
    """Try a candidate at its server."""
    pair = candidate.pair
    login, ca = (pair.login, pair.ca) if pair is not None else (None, None)
    if isinstance(candidate.server, GoogleApi):
        from ashchat_operator.credentials import try_google

        return await try_google.attempt(candidate.server, login, ca)
    return await try_smtp.attempt(candidate.server, login, ca)


@dataclass(frozen=True, slots=True)
class _Known:
    key: tuple[str, ...]
    verdict: Verdict
    times: int
    again_at: float


class Trials:
    """The trials of one AshChat."""

    def __init__(
        self,
        wake: Callable[[], None],
        attempt: Callable[[Candidate], Awaitable[Verdict]] = attempt,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wake = wake
        self._attempt = attempt
        self._clock = clock
        self._known: dict[ProvidedKind, _Known] = {}
        self._tasks: dict[ProvidedKind, tuple[tuple[str, ...], asyncio.Task[None]]] = {}

    async def verdicts(
        self, wanted: Mapping[ProvidedKind, Candidate]
    ) -> Mapping[ProvidedKind, Verdict]:
        """Return what is known of exactly these; try them where it is time."""
        for kind in [*self._tasks]:
            key, task = self._tasks[kind]
            if task.done() or kind not in wanted or wanted[kind].key != key:
                task.cancel()
                del self._tasks[kind]
        for kind in [*self._known]:
            if kind not in wanted or wanted[kind].key != self._known[kind].key:
                del self._known[kind]
        for kind, candidate in wanted.items():
            known = self._known.get(kind)
            due = known is None or self._clock() >= known.again_at
            if due and kind not in self._tasks:
                task = asyncio.create_task(self._try(kind, candidate))
                self._tasks[kind] = candidate.key, task
        fresh = {task for kind, (_, task) in self._tasks.items() if kind not in self._known}
        if fresh:
            await asyncio.wait(fresh, timeout=PATIENCE_SECONDS)
        return {kind: known.verdict for kind, known in self._known.items()}

    async def close(self) -> None:
        """Stop trying."""
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _try(self, kind: ProvidedKind, candidate: Candidate) -> None:
        began = self._clock()
        try:
            verdict = await self._attempt(candidate)
        except Exception as error:  # noqa: BLE001 (a defect of ours; it is tried again)
            # Without the trace: it could hold what was tried.
            _log.error("trying %s failed: %s", kind, type(error).__name__)
            verdict = Verdict(Reason.UNREACHABLE, "it could not be tried; it is tried again")
        before = self._known.get(kind)
        times = before.times + 1 if before is not None else 1
        now = self._clock()
        self._known[kind] = _Known(candidate.key, verdict, times, now + _pause(verdict, times))
        if before is None or before.verdict != verdict:
            _log.info("tried %s at %s: %s", kind, candidate.server, verdict.reason)
            if now - began > PATIENCE_SECONDS or before is not None:
                self._wake()


def _pause(verdict: Verdict, times: int) -> float:
    """Return the seconds until it is tried again."""
    if verdict.accepted:
        return float("inf")
    if verdict.reason is Reason.UNREACHABLE:
        return min(AWAY_MAX_SECONDS, AWAY_FIRST_SECONDS * 2.0 ** (times - 1))
    return REFUSED_SECONDS
