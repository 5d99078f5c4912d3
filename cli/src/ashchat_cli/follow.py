"""What a rotation has come to, seen from outside: `status.rotation` after a stamp was set.

Pure: fed with one status after the other and the time, it tells phases as they end. Tolerant
of an operator that knows more phases or kinds than this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ashchat_core.api.names import Annotation, rotate_annotation

IDLE: Final = "Idle"


def annotation(credential: str) -> str:
    """Return the annotation that requests a rotation, of one kind of credential or of all."""
    return rotate_annotation(credential) if credential else Annotation.ROTATE.value


@dataclass(slots=True)
class Watched:
    """One kind of credential under rotation."""

    phase: str = ""
    since: float = 0.0
    handled: bool = False
    took: dict[str, float] = field(default_factory=dict)
    """Phase → seconds that it took, as seen from here."""
    message: str = ""

    @property
    def done(self) -> bool:
        """Whether the rotation that the stamp asked for is over."""
        return self.handled and self.phase == IDLE


class Follower:
    """Follows the rotation that a stamp asked for."""

    def __init__(self, stamp: str, kind: str, began: float) -> None:
        self._stamp = stamp
        self._kind = kind
        self._began = began
        self.kinds: dict[str, Watched] = {}

    def look(self, status: Mapping[str, Any], now: float) -> list[str]:
        """Take a status; return what is new, a sentence each.

        Args:
            status: The AshChat's.
            now: Seconds, by the clock that `began` was told of.
        """
        news = []
        for entry in status.get("rotation", ()):
            name = str(entry.get("name", ""))
            if self._kind and name != self._kind:
                continue
            watched = self.kinds.setdefault(name, Watched(since=self._began))
            watched.handled = watched.handled or self._stamp in entry.get("handledTokens", ())
            if not watched.handled:
                continue
            phase, message = str(entry.get("phase", "")), str(entry.get("message", ""))
            if phase != watched.phase:
                if watched.phase:
                    took = now - watched.since
                    watched.took[watched.phase] = watched.took.get(watched.phase, 0.0) + took
                    news.append(f"{name}: {watched.phase} took {took:.1f} s")
                if phase != IDLE:
                    news.append(f"{name}: {phase}")
                watched.phase, watched.since = phase, now
            if message and message != watched.message:
                news.append(f"{name}: {message}")
            watched.message = message
        return news

    @property
    def done(self) -> bool:
        """Whether every kind that took the stamp is through, and at least one did."""
        took_it = [each for each in self.kinds.values() if each.handled]
        return bool(took_it) and all(each.done for each in self.kinds.values())

    def data(self, now: float) -> dict[str, Any]:
        """Return what was seen."""
        return {
            "stamp": self._stamp,
            "done": self.done,
            "seconds": round(now - self._began, 1),
            "kinds": [
                {
                    "name": name,
                    "phase": each.phase or "NotStarted",
                    "message": each.message,
                    "seconds": {phase: round(took, 1) for phase, took in each.took.items()},
                }
                for name, each in sorted(self.kinds.items())
            ],
        }
