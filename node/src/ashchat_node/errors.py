"""The exception of this package: a failed step, with advice on what to do."""

from pathlib import Path
from typing import Final

TAIL_LINES: Final = 15


class NodeError(Exception):
    """A step failed.

    Attributes:
        step: The step's name in the progress display.
        message: What went wrong, in one sentence.
        log_tail: The last lines of the log of what failed; may be empty.
        what_to_do: What the user can do about it.
    """

    def __init__(
        self, step: str, message: str, log_tail: str = "", what_to_do: str = "Run it again."
    ) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        self.message = message
        self.log_tail = log_tail
        self.what_to_do = what_to_do


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log; empty if there is none."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
