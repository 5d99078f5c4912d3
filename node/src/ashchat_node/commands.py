"""Running other programs: output to a log, its last line to the progress, failures explained."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ashchat_node.errors import NodeError, tail
from ashchat_node.progress import Step

Argument = str | Path


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
    """Runs a program that takes a while, its output into `log` (made anew).

    Args:
        step_name: The step, for the error.
        arguments: The program and its arguments.
        log: Where standard output and error go.
        step: Gets the last line of the output as its detail.
        env: Variables over this process's own.
        cwd: The folder it runs in.
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
    """Runs a short program and returns its standard output.

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
    """Tells whether a short program exits with 0; one that is missing or hangs does not."""
    try:
        capture("check", arguments, env=env, timeout_seconds=timeout_seconds)
    except NodeError:
        return False
    return True
