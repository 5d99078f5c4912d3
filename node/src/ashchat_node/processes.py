"""Processes that outlive the command: started under a supervisor, stopped by exact identity.

A process id does not identify a process, because ids are reused. A record therefore contains the
id, the start time (field 22 of /proc/<pid>/stat, proc(5)) and the boot; a process is ours only
if all three match.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ashchat_node.errors import NodeError, tail
from ashchat_node.paths import Paths

_START_TIME_FIELD: Final = 19  # field 22, counted after the closing parenthesis of field 2
_POLL_SECONDS: Final = 0.05
_STOP_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Identity:
    """Identifies one process."""

    pid: int
    start_time: int
    boot: str

    def alive(self) -> bool:
        """Return whether exactly this process still runs (a zombie does not)."""
        return _start_time(self.pid) == self.start_time and self.boot == boot_id()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process exists.

        A pidfd is opened before the identity is checked, so the id cannot be reused in between
        (pidfd_open(2)).
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive():
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return
        finally:
            os.close(descriptor)

    def end(self, seconds: float = _STOP_SECONDS) -> None:
        """Terminate the process; kill it after a while."""
        self.signal(signal.SIGTERM)
        if not self._gone_within(seconds):
            self.signal(signal.SIGKILL)
            self._gone_within(seconds)

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def boot_id() -> str:
    """Return the kernel's id of this boot (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse_start_time(stat: str) -> int | None:
    """Return the start time, in clock ticks since boot, from /proc/<pid>/stat.

    Returns:
        The start time, or None for a zombie, which is no longer running.
    """
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in {"Z", "X"} else int(fields[_START_TIME_FIELD])


def _start_time(pid: int) -> int | None:
    try:
        return parse_start_time(Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return None


def identify(pid: int) -> Identity | None:
    """Return the identity of a running process; None if there is none."""
    start = _start_time(pid)
    return None if start is None else Identity(pid, start, boot_id())


def write_record(file: Path, identity: Identity) -> None:
    """Write an identity to a file, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(json.dumps(asdict(identity)))
    unfinished.rename(file)


def read_record(file: Path) -> Identity | None:
    """Return the identity in a file if that process is running."""
    try:
        identity = Identity(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return identity if identity.alive() else None


@dataclass(frozen=True)
class Daemon:
    """A program that must keep running.

    Attributes:
        name: Its name, used in file names, too.
        arguments: The program and its arguments.
        wait_for: Files that must exist before it is started.
        env: Additional environment variables.
        exclusive: Whether every process of this program file is ours, and is stopped even if it
            is not recorded.
    """

    name: str
    arguments: Sequence[str]
    wait_for: Sequence[str] = ()
    env: Mapping[str, str] | None = None
    exclusive: bool = True

    def start(self, paths: Paths) -> None:
        """Start the program under a supervisor unless it is running.

        Raises:
            NodeError: The supervisor did not start.
        """
        if self.supervisor(paths) is not None:
            return
        # The supervisor was killed, so nothing would restart the program. Containers live on.
        self._end_program(paths)
        spec = paths.run / f"{self.name}.json"
        spec.parent.mkdir(parents=True, exist_ok=True)
        paths.log.mkdir(parents=True, exist_ok=True)
        log = paths.log / f"{self.name}.log"
        spec.write_text(
            json.dumps(
                {
                    "arguments": list(self.arguments),
                    "wait_for": list(self.wait_for),
                    "env": dict(self.env or {}),
                    "log": str(log),
                    "supervisor": str(self._supervisor_file(paths)),
                    "child": str(self._child_file(paths)),
                }
            )
        )
        # Isolated (-I): the supervisor outlives the folder that this command was run from.
        # It detaches itself, so this returns at once.
        with log.open("a") as errors:
            subprocess.run(
                [sys.executable, "-I", Path(__file__).with_name("supervisor.py"), spec],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                check=False,  # whether it runs is seen below
            )
        deadline = time.monotonic() + _STOP_SECONDS
        while self.supervisor(paths) is None:
            if time.monotonic() > deadline:
                raise NodeError(f"start {self.name}", "its supervisor did not start", tail(log))
            time.sleep(_POLL_SECONDS)

    def stop(self, paths: Paths) -> None:
        """Stop the supervisor, then the program, if they are running."""
        if supervisor := self.supervisor(paths):
            supervisor.end()
        self._end_program(paths)
        for file in (self._supervisor_file(paths), self._child_file(paths)):
            file.unlink(missing_ok=True)

    def supervisor(self, paths: Paths) -> Identity | None:
        """Return the supervisor if it is running."""
        return read_record(self._supervisor_file(paths))

    def child(self, paths: Paths) -> Identity | None:
        """Return the program's process if it is running."""
        return read_record(self._child_file(paths))

    def _end_program(self, paths: Paths) -> None:
        """Stop the recorded process, and the others of a program file that only we run."""
        if child := self.child(paths):
            child.end()
        if self.exclusive:
            for process in with_executable(Path(self.arguments[0])):
                process.end()

    def _supervisor_file(self, paths: Paths) -> Path:
        return paths.run / f"{self.name}.supervisor"

    def _child_file(self, paths: Paths) -> Path:
        return paths.run / f"{self.name}.child"


def with_executable(program: Path) -> list[Identity]:
    """Return the processes that run exactly this program file."""
    found: list[Identity] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            executable = str((folder / "exe").readlink()).removesuffix(" (deleted)")
        except OSError:
            continue  # a kernel thread, or it ended meanwhile
        if executable == str(program) and (identity := identify(int(folder.name))):
            found.append(identity)
    return found
