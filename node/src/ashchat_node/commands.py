"""Runs other programs: output goes to a log, its last line to the progress display."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ashchat_node.errors import NodeError, tail
from ashchat_node.progress import Step

Argument = str | Path


# Seven parameters: a command, where its output goes, and how to report a failure.
def run_logged(
    step_name: str,
    arguments: Sequence[Argument],
    *,
    log: Path,
    step: Step | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    what_to_do: str = "Run it again; it goes on where it stopped.",
) -> None:
    """Run a long-running program and write its output to `log`, which is overwritten.

    Args:
        step_name: The step, for the error.
        arguments: The program and its arguments.
        log: Where standard output and error go.
        step: Receives the last line of the output as its detail.
        env: Additional environment variables.
        cwd: The working directory.
        what_to_do: What the error advises.

    Raises:
        NodeError: It could not be started or did not exit with 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [str(argument) for argument in arguments]
    try:
        with (
            log.open("w") as sink,
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                text=True,
                errors="replace",
            ) as process,
        ):
            for line in process.stdout or ():
                sink.write(line)
                sink.flush()
                if step is not None and (text := line.strip()):
                    step.detail(text)
    except OSError as error:
        raise NodeError(step_name, f"{argv[0]} could not be started: {error}") from error
    if process.returncode != 0:
        raise NodeError(
            step_name,
            f"{Path(argv[0]).name} exited with {process.returncode} (log: {log})",
            tail(log),
            what_to_do,
        )


def capture(
    step_name: str,
    arguments: Sequence[Argument],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = 60,
) -> str:
    """Run a short program and return its standard output.

    Raises:
        NodeError: It could not be started, took too long or did not exit with 0.
    """
    argv = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, **(env or {})},
            timeout=timeout_seconds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(step_name, f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise NodeError(
            step_name, f"{Path(argv[0]).name} exited with {done.returncode}", done.stderr.strip()
        )
    return done.stdout


def succeeds(
    arguments: Sequence[Argument],
    *,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = 60,
) -> bool:
    """Return whether a short program exits with 0; False if it is missing or hangs."""
    try:
        capture("check", arguments, env=env, timeout_seconds=timeout_seconds)
    except NodeError:
        return False
    return True
