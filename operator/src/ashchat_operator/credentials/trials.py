"""Tries user-provided credentials in the background: a server may be slow or unreachable.

One task per candidate; its verdict is remembered while the candidate stays the same.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ashchat_core.api.reasons import Reason
from ashchat_operator.credentials.candidates import Candidate, Verdict

PATIENCE_SECONDS: Final = 0.7
"""How long a pass waits for a verdict: a server nearby answers within this."""

AWAY_FIRST_SECONDS: Final = 5.0
AWAY_MAX_SECONDS: Final = 300.0
REFUSED_SECONDS: Final = 900.0
"""When a refused credential is tried again: servers lock out clients that retry sooner."""

_log = logging.getLogger(__name__)


Attempt = Callable[[Candidate], Awaitable[Verdict]]
"""Tries a candidate once at its server."""


@dataclass(frozen=True, slots=True)
class _Known:
    key: tuple[str, ...]
    verdict: Verdict
    times: int
    again_at: float


class Trials:
    """The trials of one AshChat."""

    def __init__(
        self, wake: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._tasks: dict[str, tuple[tuple[str, ...], asyncio.Task[None]]] = {}

    async def verdicts(
        self, wanted: Mapping[str, Candidate], attempt: Attempt
    ) -> Mapping[str, Verdict]:
        """Return what is known of exactly these candidates; try those that are due.

        Args:
            wanted: The candidates by kind.
            attempt: Tries one.
        """
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
                task = asyncio.create_task(self._try(kind, candidate, attempt))
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

    async def _try(self, kind: str, candidate: Candidate, attempt: Attempt) -> None:
        began = self._clock()
        try:
            verdict = await attempt(candidate)
        except Exception as error:  # noqa: BLE001 (a defect of ours; it is retried)
            # Without the traceback: it could contain the credential.
            _log.error("trying %s failed: %s", kind, type(error).__name__)
            verdict = Verdict(Reason.UNREACHABLE, "it could not be tried; it will be retried")
        before = self._known.get(kind)
        times = before.times + 1 if before is not None else 1
        now = self._clock()
        self._known[kind] = _Known(candidate.key, verdict, times, now + _pause(verdict, times))
        if before is None or before.verdict != verdict:
            _log.info("tried %s at %s: %s", kind, candidate.server, verdict.reason)
            if now - began > PATIENCE_SECONDS or before is not None:
                self._wake()


def _pause(verdict: Verdict, times: int) -> float:
    """Return the seconds until the next attempt."""
    if verdict.accepted:
        return float("inf")
    if verdict.reason is Reason.UNREACHABLE:
        return min(AWAY_MAX_SECONDS, AWAY_FIRST_SECONDS * 2.0 ** (times - 1))
    return REFUSED_SECONDS
