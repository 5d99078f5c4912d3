"""The output of `make up`: steps with their durations, and a table at the end.

On a terminal the current steps stay at the bottom, each with its detail; elsewhere a line is
printed when a step begins and when it ends. NO_COLOR is respected (https://no-color.org).
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ashchat_dev.graph import Span
from ashchat_node.progress import PlainProgress, Progress

REFRESHES_PER_SECOND: Final = 8


class Display(Progress, Protocol):
    """A progress that can be shown and closed."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the final state on the screen."""


class Lines(PlainProgress):
    """One line where a step begins or ends: for pipes, logs and CI."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to clean up."""


@dataclass(slots=True, eq=False)
class LiveStep:
    """A step on the screen."""

    name: str
    begun: float = field(default_factory=time.monotonic)
    doing: str = ""
    spinner: Spinner = field(default_factory=lambda: Spinner("dots", style="cyan"))

    def detail(self, text: str) -> None:
        """Report what the step is doing."""
        self.doing = text


class Screen:
    """Current steps at the bottom of the terminal, completed ones above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._steps: list[LiveStep] = []
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    @contextmanager
    def step(self, name: str) -> Iterator[LiveStep]:
        """Show a step for as long as the context is open."""
        step = LiveStep(name)
        with self._lock:
            self._steps.append(step)
        mark, style = "✗", "red"
        try:
            yield step
            mark, style = "✓", "green"
        finally:
            with self._lock:
                self._steps.remove(step)
            took = seconds(time.monotonic() - step.begun)
            self._console.print(
                Text.assemble((f"{mark} ", style), (f"{name} "), (took, "dim")), soft_wrap=True
            )

    def _render(self) -> Group:
        with self._lock:
            steps = list(self._steps)
        now = time.monotonic()
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right", style="cyan", no_wrap=True)
        grid.add_column(style="dim", no_wrap=True, overflow="ellipsis", ratio=1)
        for step in steps:
            grid.add_row(step.spinner, step.name, seconds(now - step.begun), step.doing)
        return Group(grid)


def display(console: Console) -> Display:
    """Return the display for the kind of output."""
    return Screen(console) if console.is_terminal else Lines()


def seconds(duration: float) -> str:
    """Return a duration for display: 0.4 s, 12 s, 3:05 min."""
    if duration < 10:  # noqa: PLR2004 - below this a tenth matters
        return f"{duration:.1f} s"
    if round(duration) < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{duration:.0f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes}:{rest:02d} min"


class Phases:
    """When which phase of a run began and ended; phases may overlap."""

    def __init__(self) -> None:
        self.begun: Final = time.monotonic()
        self._spans: list[Span] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase that runs alone."""
        begun = time.monotonic()
        yield
        self._spans.append(Span(name, begun, time.monotonic()))

    def add(self, spans: Iterable[Span]) -> None:
        """Count concurrent tasks under their kinds."""
        self._spans += spans

    def rows(self) -> list[tuple[str, float, float]]:
        """Return (phase, when it began, how long it took from its first to its last), by time."""
        merged: dict[str, Span] = {}
        for span in self._spans:
            former = merged.get(span.kind, span)
            merged[span.kind] = Span(
                span.kind, min(former.begun, span.begun), max(former.ended, span.ended)
            )
        ordered = sorted(merged.values(), key=lambda span: (span.begun, span.ended))
        return [(span.kind, span.begun - self.begun, span.ended - span.begun) for span in ordered]

    def table(self) -> Table:
        """Return the table at the end of a run."""
        table = Table(box=None, padding=(0, 2, 0, 0), show_footer=True, header_style="dim")
        table.add_column("phase", footer="until Ready")
        table.add_column("began at", justify="right")
        table.add_column("took", justify="right", footer=seconds(time.monotonic() - self.begun))
        for name, begun, took in self.rows():
            table.add_row(name, seconds(begun), seconds(took))
        return table
