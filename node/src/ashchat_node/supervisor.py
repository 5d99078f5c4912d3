"""Keeps one program running: starts it, restarts it when it ends, stops it on a signal.

`processes.Daemon` runs this file, isolated from the working directory; it therefore imports the
standard library only, and everything at the start.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

MAX_PAUSE_SECONDS: Final = 10.0
HEALTHY_SECONDS: Final = 60.0
LOG_BYTES: Final = 50 * 1024 * 1024
PR_SET_CHILD_SUBREAPER: Final = 36
_STOP_SECONDS: Final = 20.0


def record(file: str, pid: int) -> None:
    """Write an identity in the format of `processes.read_record`."""
    start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    unfinished = Path(f"{file}.tmp")
    unfinished.write_text(json.dumps({"pid": pid, "start_time": int(start), "boot": boot}))
    unfinished.rename(file)


def detach() -> None:
    """Detach from the parent: a new session, adopted by init (daemon(7))."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")


def adopt_orphans() -> None:
    """Make the program's orphans (containerd's shims) children of this process (prctl(2)).

    This way they are reaped even if the init process does not, as in many containers.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(child: int) -> None:
    """Reap adopted processes that have ended, but not the program itself."""
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == child:
                return  # the rest in the next round, when this one is gone
            os.waitpid(ended.si_pid, 0)


class Supervisor:
    """The loop around one program."""

    def __init__(self, spec: dict[str, object]) -> None:
        self._arguments = [str(each) for each in _list(spec["arguments"])]
        self._wait_for = [Path(str(each)) for each in _list(spec["wait_for"])]
        env = spec["env"]
        self._env = {**os.environ, **(env if isinstance(env, dict) else {})}
        self._log = Path(str(spec["log"]))
        self._child_file = str(spec["child"])
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Handle SIGTERM: stop the program and end the loop."""
        self._stopping = True
        if self._child is not None:
            self._child.terminate()

    def run(self) -> None:
        """Run until stopped, with growing pauses while the program does not stay up."""
        pause = 1.0
        while not self._stopping:
            if not all(file.exists() for file in self._wait_for):
                time.sleep(0.2)
                continue
            begun = time.monotonic()
            self._run_once()
            if time.monotonic() - begun > HEALTHY_SECONDS:
                pause = 1.0
            deadline = time.monotonic() + pause
            while not self._stopping and time.monotonic() < deadline:
                time.sleep(0.1)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
        if self._child is not None and self._child.poll() is None:
            try:
                self._child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def _run_once(self) -> None:
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
            self._log.rename(self._log.with_suffix(".log.1"))
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd="/",
            )
        record(self._child_file, self._child.pid)
        if self._stopping:  # stopped while it was being started
            self._child.terminate()
        while self._child.poll() is None:
            reap_orphans(self._child.pid)
            try:
                # Short waits: a signal handler that ends the child must be seen by poll.
                self._child.wait(1.0)
            except subprocess.TimeoutExpired:
                if self._stopping:
                    return


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def main() -> None:
    """Read the specification named on the command line and supervise."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    detach()
    supervisor = Supervisor(spec)
    signal.signal(signal.SIGTERM, supervisor.stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    record(str(spec["supervisor"]), os.getpid())
    adopt_orphans()
    supervisor.run()
    reap_orphans(0)


if __name__ == "__main__":
    main()
