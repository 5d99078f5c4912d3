"""Follows a rotation from outside, by `status.rotation` after a token was set.

Pure: given one status after the other and the time, it reports the phases as they end. It accepts
phases and kinds that it does not know, of a newer operator.
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
    """Phase → its duration in seconds, as observed here."""
    message: str = ""

    @property
    def done(self) -> bool:
        """Whether the rotation that the token requested is complete."""
        return self.handled and self.phase == IDLE


class Follower:
    """Follows the rotation that a token requested."""

    def __init__(self, token: str, kind: str, began: float) -> None:
        self._token = token
        self._kind = kind
        self._began = began
        self.kinds: dict[str, Watched] = {}

    def update(self, status: Mapping[str, Any], now: float) -> list[str]:
        """Process a status; return what is new, one sentence each.

        Args:
            status: The status of the AshChat.
            now: Seconds, by the same clock as `began`.
        """
        news = []
        for entry in status.get("rotation", ()):
            name = str(entry.get("name", ""))
            if self._kind and name != self._kind:
                continue
            watched = self.kinds.setdefault(name, Watched(since=self._began))
            watched.handled = watched.handled or self._token in entry.get("handledTokens", ())
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
        """Whether every kind that accepted the token is complete, and at least one did."""
        accepted = [each for each in self.kinds.values() if each.handled]
        return bool(accepted) and all(each.done for each in self.kinds.values())

    def data(self, now: float) -> dict[str, Any]:
        """Return what was observed."""
        return {
            "token": self._token,
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
