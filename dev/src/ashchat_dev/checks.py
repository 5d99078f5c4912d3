"""What `make test` runs, in the order in which it fails fastest."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from ashchat_dev.images import ROOT
from ashchat_dev.progress import seconds

BIN: Final = ROOT / ".venv" / "bin"
SOURCES: Final = ("operator", "cli", "node", "dev", "services", "tests")


@dataclass(frozen=True, slots=True)
class Check:
    """A program whose exit code is the result.

    Attributes:
        name: Its name in the output.
        command: The program, of .venv, and its arguments.
        verbose: Whether its output is shown if it passes, too.
    """

    name: str
    command: tuple[str, ...]
    verbose: bool = False


LINT: Final = (
    Check("format", ("ruff", "format", "--check", "--quiet", ".")),
    Check("ruff", ("ruff", "check", "--quiet", ".")),
    Check("types", ("mypy", *SOURCES)),
    Check("layers", ("lint-imports", "--no-cache")),
    Check("phrases", ("python", "-m", "ashchat_dev.prose")),
    Check("spelling", ("codespell",)),
)
UNIT: Final = (
    Check("unit tests and manifests", ("python", "-m", "pytest", "--quiet"), verbose=True),
)
CLUSTER: Final = (
    Check(
        "manifests with the chart, and the suite in the cluster",
        ("python", "-m", "pytest", "--quiet", "--durations=12", "tests/manifests", "tests/e2e"),
        verbose=True,
    ),
)


def run(checks: Sequence[Check], console: Console, environ: Mapping[str, str] = os.environ) -> bool:
    """Run checks one after the other, their output as it comes.

    Returns:
        Whether all passed; one that fails does not keep the others from running.
    """
    passed = True
    for check in checks:
        begun = time.monotonic()
        console.print(f"[dim]>[/] {check.name}")
        sys.stdout.flush()
        program, *arguments = check.command
        done = subprocess.run(
            [str(BIN / program), *arguments],
            cwd=ROOT,
            check=False,
            env=dict(environ),
            stdout=None if check.verbose else subprocess.PIPE,
            stderr=None if check.verbose else subprocess.STDOUT,
        )
        if done.returncode and done.stdout:
            console.print(
                done.stdout.decode(errors="replace"), markup=False, soft_wrap=True, end=""
            )
        took = seconds(time.monotonic() - begun)
        mark = "[green]+[/]" if done.returncode == 0 else "[red]x[/]"
        console.print(f"{mark} {check.name} [dim]({took})[/]")
        passed = passed and done.returncode == 0
    return passed
