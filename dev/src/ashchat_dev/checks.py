"""The checks that `make lint`, `make unit`, `make test` and their relatives run."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.console import Console

from ashchat_dev import timings
from ashchat_dev.images import ROOT
from ashchat_dev.programs import CACHE
from ashchat_dev.progress import seconds
from ashchat_dev.suite_namespaces import WORKERS

BIN: Final = ROOT / ".venv" / "bin"
SOURCES: Final = ("operator", "cli", "node", "dev", "services", "tests")


@dataclass(frozen=True, slots=True)
class Check:
    """A program that reports by its exit code whether it passed.

    Attributes:
        name: Its name in the output, and in the record of how long it took.
        command: The program, of .venv, and its arguments.
        shown: Whether its output is shown also when it passes.
        environ: Environment variables on top of the caller's.
    """

    name: str
    command: tuple[str, ...]
    shown: bool = False
    environ: tuple[tuple[str, str], ...] = ()


LINT: Final = (
    Check("format", ("ruff", "format", "--check", "--quiet", ".")),
    Check("ruff", ("ruff", "check", "--quiet", ".")),
    # Every clone shares the cache: mypy compares the content of files, not only their times.
    Check("types", ("mypy", f"--cache-dir={CACHE / 'mypy'}", *SOURCES)),
    Check("layers", ("lint-imports", "--no-cache")),
    Check("phrases", ("python", "-m", "ashchat_dev.prose")),
    Check("spelling", ("codespell",)),
)
UNIT: Final = Check(
    "unit tests and manifests", ("python", "-m", "pytest", "--quiet", "-rfE"), shown=True
)
_ON_ALL_CORES: Final = ("--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal")
"""For all unit tests; for a few, starting processes would take longer than the tests."""

CHART: Final = Check(
    "manifests with the chart", ("python", "-m", "pytest", "--quiet", "tests/manifests"), shown=True
)
"""For machines where Helm is built only after the unit tests."""

_E2E: Final = ("python", "-m", "pytest", "--quiet", "-rfE", "--durations=20")
_PARALLEL: Final = (f"--numprocesses={WORKERS}", "--dist=loadfile", "--no-loadscope-reorder")


def unit(where: str = "", arguments: str = "") -> Check:
    """Return the check of the unit tests, or of those at a path.

    Args:
        where: Files, folders or node ids, separated by spaces; empty: all.
        arguments: More arguments for pytest, as typed in a shell.
    """
    command = UNIT.command if where else (*UNIT.command, *_ON_ALL_CORES)
    return _with(replace(UNIT, command=command), where.split(), arguments)


def e2e(where: str = "", marks: str = "", arguments: str = "") -> Check:
    """Return the check of the end-to-end tests: all of them in parallel, or a few.

    Args:
        where: Files, folders or node ids below tests/e2e, separated by spaces; empty: all.
        marks: A pytest mark expression such as "not slow"; empty: all.
        arguments: More arguments for pytest, as typed in a shell.
    """
    some = bool(where or marks)
    command = (*_E2E, *(() if some else _PARALLEL), *_marked(marks, everything=not some))
    name = "end-to-end tests" + (f", {where}" if where else "") + (f", {marks}" if marks else "")
    targets = [each if each.startswith("tests/") else f"tests/e2e/{each}" for each in where.split()]
    return _with(Check(name, command, shown=True), targets or ["tests/e2e"], arguments)


def nodes(arguments: str = "") -> Check:
    """Return the check of the tests that need three nodes."""
    return e2e("nodes", arguments=arguments)


def soak() -> tuple[Check, ...]:
    """Return the checks of a soak: property tests with new examples, and every sweep whole."""
    properties = replace(
        UNIT,
        name="property tests with new examples",
        command=(*UNIT.command, *_ON_ALL_CORES, "-m", "hypothesis"),
    )
    return tuple(
        replace(check, environ=(("ASHCHAT_SOAK", "1"),))
        for check in (properties, replace(e2e(), name="soak"))
    )


def _marked(marks: str, *, everything: bool) -> tuple[str, ...]:
    """Return pytest's option for a mark expression; tests of three nodes are run separately."""
    wanted = "not nodes" if everything else marks
    return ("-m", wanted) if wanted else ()


def _with(check: Check, targets: Sequence[str], arguments: str) -> Check:
    return replace(check, command=(*check.command, *shlex.split(arguments), *targets))


def run(checks: Sequence[Check], console: Console, environ: Mapping[str, str] = os.environ) -> bool:
    """Run checks one after the other; print how long each took, and how long last time.

    Returns:
        Whether all passed; one that fails does not prevent the others from running.
    """
    passed = True
    for check in checks:
        began = time.monotonic()
        last = timings.last(check.name)
        expected = f" [dim](last time {seconds(last)})[/]" if last is not None else ""
        console.print(f"[dim]>[/] {check.name}{expected}")
        sys.stdout.flush()
        program, *arguments = check.command
        done = subprocess.run(
            [str(BIN / program), *arguments],
            cwd=ROOT,
            check=False,
            env={**environ, **dict(check.environ)},
            stdout=None if check.shown else subprocess.PIPE,
            stderr=None if check.shown else subprocess.STDOUT,
        )
        if done.returncode and done.stdout:
            console.print(
                done.stdout.decode(errors="replace"), markup=False, soft_wrap=True, end=""
            )
        took = time.monotonic() - began
        if done.returncode == 0:
            timings.record(check.name, took)
        mark = "[green]+[/]" if done.returncode == 0 else "[red]x[/]"
        console.print(f"{mark} {check.name} [dim]({seconds(took)})[/]")
        passed = passed and done.returncode == 0
    return passed
