"""How long-running functions tell what they do.

Functions take a `Progress`; a command line implements it as it likes. Steps may be open at
the same time in several threads, so implementations must be thread-safe.
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
"""With the time before it a line of at most 80 columns."""


class Step(Protocol):
    """A step under way."""

    def detail(self, text: str) -> None:
        """Tells what the step is at; replaces the detail before it."""


class Progress(Protocol):
    """Receives the steps of a long-running function."""

    def step(self, name: str) -> AbstractContextManager[Step]:
        """Opens a step; leaving the context ends it, an exception marks it as failed."""


@dataclass
class _PlainStep:
    name: str
    progress: "PlainProgress"
    _told: float = field(default_factory=time.monotonic)

    def detail(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told >= DETAIL_EVERY_SECONDS:
            self._told = now
            self.progress.line(shorten(f"… {self.name}: {text}"))


class PlainProgress:
    """One line where a step begins or ends, with the seconds since the start."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def line(self, text: str) -> None:
        """Writes a line, whole, whichever thread it comes from."""
        with self._lock:
            print(f"{time.monotonic() - self._started:7.1f}s  {text}", file=self._out, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Opens a step and writes a line when it ends."""
        begun = time.monotonic()
        self.line(f"> {name}")
        try:
            yield _PlainStep(name, self)
        except BaseException:
            self.line(f"x {name} failed after {time.monotonic() - begun:.1f} s")
            raise
        self.line(f"+ {name} ({time.monotonic() - begun:.1f} s)")


def shorten(text: str, chars: int = DETAIL_CHARS) -> str:
    """Returns the text, its end replaced by an ellipsis where it is too long."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


class SilentProgress:
    """Tells nothing; for tests and for callers with a display of their own."""

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:  # noqa: ARG002 - the Protocol's name
        """Opens a step that nobody sees."""
        yield self

    def detail(self, text: str) -> None:
        """Drops the detail."""
