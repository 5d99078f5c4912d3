"""Exit codes, and the faults that end a command with one.

The codes are part of the interface (docs/reference/cli.md): scripts branch on them.
"""

from enum import IntEnum


class Exit(IntEnum):
    """The meaning of an exit code."""

    OK = 0
    """Ready; nothing found; done."""
    NOT_OK = 1
    """Not Ready; warnings, but no error, found; not done."""
    USAGE = 2
    """The command line is not valid; the same code as click's."""
    UNREACHABLE = 3
    """No answer from the cluster, or from the broker behind it."""
    NOT_FOUND = 4
    """No such AshChat, queue or message."""
    REFUSED = 5
    """The API server or the broker refused: a permission is missing."""
    ERRORS = 6
    """The doctor found errors."""


class CliError(Exception):
    """Ends a command with an exit code; the text is shown to the user."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
