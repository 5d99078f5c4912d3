"""The one exception of this package: a failed step, told so that a person can act on it."""

from pathlib import Path
from typing import Final

TAIL_LINES: Final = 15


class NodeError(Exception):
    """A step failed.

    Attributes:
        step: The step, as the progress display names it.
        message: What went wrong, one sentence.
        log_tail: The last lines of the log of what failed; may be empty.
        what_to_do: What the person can do about it.
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
    """Returns the last lines of a log, or nothing where there is no log."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
