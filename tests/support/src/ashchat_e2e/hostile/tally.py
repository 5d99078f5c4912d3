"""How a server answered hostile requests, and which of the answers are not documented."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Final

CLOSE_CODES: Final = frozenset({1000, 1006, 1007, 1009, 4400, 4401, 4403, 4408, 4410, 4429})
"""How a socket may end for what its client sent, by docs/reference/protocol.md; 1006: unclosed."""

UNAVAILABLE: Final = 503
TOO_MANY: Final = 429
ERRORS_FROM: Final = 400
CLOSE_CODES_FROM: Final = 1000
SAMPLES: Final = 20
"""Maximum number of undocumented answers that are reported in full."""


def objection(status: int, reason: str, retry_after: str | None) -> str:
    """Return why an answer is not as documented; empty if it is.

    Args:
        status: The status of a response, or the close code of a socket.
        reason: The machine-readable reason in its body.
        retry_after: The header.
    """
    if status >= CLOSE_CODES_FROM:
        return "" if status in CLOSE_CODES else "the close code is not documented"
    if status < ERRORS_FROM:
        return ""
    if status > TOO_MANY and status != UNAVAILABLE:
        return "a server error other than 503"
    if not reason:
        return "no reason"
    if status in {TOO_MANY, UNAVAILABLE} and not (retry_after or "").isdigit():
        return "no Retry-After"
    return ""


@dataclass(slots=True)
class Tally:
    """What became of the actions of one sender."""

    due: int = 0
    """Actions whose time had come."""

    withheld: int = 0
    """Actions that were not begun, because too many were unfinished."""

    behind_seconds: float = 0.0
    """By how much the latest action began late."""

    cpu_seconds: float = 0.0
    began: float = 0.0
    """Seconds since the epoch."""

    ended: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    """By "action: status reason"."""

    broken: Counter[str] = field(default_factory=Counter)
    """Connections that ended without an answer, by "action: exception"."""

    undocumented: list[str] = field(default_factory=list)

    def answer(
        self, action: str, status: int, reason: str = "", retry_after: str | None = None
    ) -> None:
        """Count an answer."""
        self.answers[f"{action}: {status} {reason}".rstrip()] += 1
        if (wrong := objection(status, reason, retry_after)) and len(self.undocumented) < SAMPLES:
            self.undocumented.append(f"{action}: {status} {reason!r}: {wrong}")

    def broke(self, action: str, error: BaseException) -> None:
        """Count a connection that ended without an answer."""
        self.broken[f"{action}: {type(error).__name__}"] += 1

    def crashed(self, task: "asyncio.Task[None]") -> None:
        """Report an action that failed without a cause on the network: a defect of the load."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.undocumented.append(f"the load itself failed: {error!r}")

    def total(self, action: str) -> int:
        """Return how many answers an action got."""
        return sum(n for key, n in self.answers.items() if key.partition(":")[0] == action)

    def dumps(self) -> str:
        """Return this as one line of JSON."""
        # Not asdict, which copies a Counter by counting its items.
        return json.dumps({each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def loads(cls, text: str) -> "Tally":
        """Return the tally that `dumps` wrote."""
        found: dict[str, Any] = json.loads(text)
        for counted in ("answers", "broken"):
            found[counted] = Counter(found[counted])
        return cls(**found)


def reason_of(body: bytes) -> str:
    """Return the machine-readable reason in a response's body; empty if there is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    places = (found, found.get("data")) if isinstance(found, dict) else ()
    for place in places:
        if isinstance(place, dict) and isinstance(place.get("reason"), str):
            return str(place["reason"])
    return ""
