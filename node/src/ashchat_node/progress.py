"""How long-running functions report their progress.

Functions receive a `Progress`, which a command line implements. Steps may be open concurrently
in several threads, so implementations must be thread-safe.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TextIO

DETAIL_EVERY_SECONDS: Final = 5.0
DETAIL_CHARS: Final = 70
"""Maximum length, so that a line with its time has at most 80 columns."""


class Step(Protocol):
    """A step in progress."""

    def detail(self, text: str) -> None:
        """Report what the step is doing; replaces the previous detail."""


class Progress(Protocol):
    """Receives the steps of a long-running function."""

    def step(self, name: str) -> AbstractContextManager[Step]:
        """Open a step; leaving the context ends it, an exception marks it as failed."""


@dataclass
class _PlainStep:
    name: str
    progress: "PlainProgress"
    _printed: float = field(default_factory=time.monotonic)

    def detail(self, text: str) -> None:
        now = time.monotonic()
        if now - self._printed >= DETAIL_EVERY_SECONDS:
            self._printed = now
            self.progress.line(shorten(f"… {self.name}: {text}"))


class PlainProgress:
    """Prints a line when a step begins or ends, with the seconds since the start."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def line(self, text: str) -> None:
        """Write a line atomically, from any thread."""
        with self._lock:
            print(f"{time.monotonic() - self._started:7.1f}s  {text}", file=self._out, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Open a step, and write a line when it ends."""
        begun = time.monotonic()
        self.line(f"> {name}")
        try:
            yield _PlainStep(name, self)
        except BaseException:
            self.line(f"x {name} failed after {time.monotonic() - begun:.1f} s")
            raise
        self.line(f"+ {name} ({time.monotonic() - begun:.1f} s)")


def shorten(text: str, chars: int = DETAIL_CHARS) -> str:
    """Return the text, truncated with an ellipsis if it is too long."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


class SilentProgress:
    """Reports nothing; for tests and callers with their own display."""

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:  # noqa: ARG002 - the Protocol's name
        """Open a step without output."""
        yield self

    def detail(self, text: str) -> None:
        """Ignore the detail."""
