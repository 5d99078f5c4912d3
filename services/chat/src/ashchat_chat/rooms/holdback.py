"""Protocol 1: each message once, in the reader's own language or, after 5 s, as it was.

The original's `receive_message` has no id, so nothing can be corrected afterwards: a
message waits for its translation, and those behind it wait too, so that nothing is read
in the wrong order. Pure: the clock is the caller's.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ashchat_chat.rooms.events import AnyEvent, Deleted, Sent, Translated
from ashchat_core import languages

WAIT_SECONDS = 5.0
"""How long a message waits for its translation."""


@dataclass(slots=True)
class _Waiting:
    event: Sent
    deadline: float
    text: str | None
    """What will be shown; None: not known yet."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A message and the text its reader gets."""

    event: Sent
    text: str


class Holdback:
    """The messages of one room for the readers of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._waiting: deque[_Waiting] = deque()

    def take(self, event: AnyEvent, now: float) -> list[Ready]:
        """Take an event at a time (seconds) and return the messages that can go now."""
        if isinstance(event, Sent):
            # No translation was asked for, or none for this reader: nothing to wait for.
            expected = any(languages.same(self.language, target) for target in event.targets)
            self._waiting.append(
                _Waiting(event, now + WAIT_SECONDS, None if expected else event.text)
            )
        elif isinstance(event, Translated) and languages.same(self.language, event.target):
            for waiting in self._waiting:
                if waiting.event.rev == event.about:
                    waiting.text = event.text if event.text is not None else waiting.event.text
        elif isinstance(event, Deleted):
            kept = [one for one in self._waiting if one.event.rev != event.about]
            self._waiting = deque(kept)
        return list(self._release(now))

    def expire(self, now: float) -> list[Ready]:
        """Return the messages whose time has come."""
        return list(self._release(now))

    @property
    def deadline(self) -> float | None:
        """When `expire` will have something to return, in seconds; None: nothing waits."""
        return self._waiting[0].deadline if self._waiting else None

    def _release(self, now: float) -> Iterable[Ready]:
        while self._waiting:
            first = self._waiting[0]
            if first.text is None and first.deadline > now:
                return
            self._waiting.popleft()
            yield Ready(first.event, first.event.text if first.text is None else first.text)
