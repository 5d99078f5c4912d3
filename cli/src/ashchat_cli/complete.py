"""`kubectl_complete-ashchat`: completes what follows `kubectl ashchat`.

kubectl calls it with the words so far, the last one incomplete, and reads one choice a line
with a directive at the end
(KEP-2379, https://github.com/kubernetes/enhancements/tree/master/keps/sig-cli/2379-kubectl-plugins).
The choices are Typer's own, in the form it has for fish: choice, tab, help.
"""

import contextlib
import os
import shlex
import sys
from typing import Final

NO_FILES: Final = ":4"
"""Cobra's ShellCompDirectiveNoFileComp: do not complete file names."""


def main() -> None:
    """Print the choices for the words of the command line."""
    words = sys.argv[1:] or [""]
    os.environ["_ASHCHAT_COMPLETE"] = "complete_fish"
    os.environ["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    # An empty last word starts a new one, which Typer recognises by the space before it.
    line = shlex.join(["ashchat", *words[:-1]])
    os.environ["_TYPER_COMPLETE_ARGS"] = f"{line} {shlex.quote(words[-1]) if words[-1] else ''}"
    from ashchat_cli.app import app

    with contextlib.suppress(SystemExit):
        app(args=[], prog_name="ashchat")
    print(NO_FILES)
