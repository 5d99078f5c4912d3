"""How a command ends: exit codes, and faults that end it with one.

The codes are part of the interface (docs/reference/cli.md): scripts branch on them.
"""

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code says."""

    OK = 0
    """Ready; nothing found; done."""
    NOT_OK = 1
    """Not Ready; warnings, but no error, found; not done."""
    USAGE = 2
    """The command line makes no sense; click's own code for it."""
    UNREACHABLE = 3
    """No answer from the cluster, or from the broker behind it."""
    NOT_FOUND = 4
    """No such AshChat, queue or message."""
    REFUSED = 5
    """The API server or the broker refused: a right is missing."""
    ERRORS = 6
    """The doctor found errors."""


class CliError(Exception):
    """Ends a command; the text is for a person."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
