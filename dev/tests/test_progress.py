import io
import re

import pytest
from rich.console import Console

from ashchat_dev.graph import Span
from ashchat_dev.progress import Lines, Phases, Screen, display, seconds


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (725, "12:05 min"),
    ],
)
def test_durations_read_well(duration: float, text: str) -> None:
    assert seconds(duration) == text


def test_overlapping_phases_are_shown_with_their_begin() -> None:
    phases = Phases()
    start = phases.begun
    phases.add(
        [
            Span("images", start + 1, start + 3),
            Span("cluster", start, start + 5),
            Span("images", start + 2, start + 8),
        ]
    )
    told = [(name, round(begun, 3), round(took, 3)) for name, begun, took in phases.rows()]
    assert told == [("cluster", 0, 5), ("images", 1, 7)]


def test_a_phase_that_fails_is_not_counted() -> None:
    phases = Phases()
    with pytest.raises(OSError, match="no"), phases.phase("x"):
        raise OSError("no")
    assert phases.rows() == []


def test_the_table_has_a_row_a_phase_and_the_whole() -> None:
    phases = Phases()
    with phases.phase("operator"):
        pass
    out = io.StringIO()
    Console(file=out, width=80).print(phases.table())
    assert re.search(r"operator\s+0\.0 s\s+0\.0 s", out.getvalue())
    assert "until Ready" in out.getvalue()


def test_a_pipe_gets_lines_and_a_terminal_a_screen() -> None:
    assert isinstance(display(Console(file=io.StringIO())), Lines)
    assert isinstance(display(Console(file=io.StringIO(), force_terminal=True)), Screen)


def test_the_screen_keeps_what_ended_with_its_mark() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, no_color=True, width=80)
    with Screen(console) as screen:
        with screen.step("good") as step:
            step.detail("half way")
        with pytest.raises(OSError, match="no"), screen.step("bad"):
            raise OSError("no")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert re.search(r"✓ good 0\.0 s", text)
    assert re.search(r"✗ bad 0\.0 s", text)
