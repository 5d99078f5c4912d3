"""The machine that a benchmark ran on, without which its figures mean nothing."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name, if the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit(root: Path) -> str:
    """Return the commit of the sources, with + if they are modified; empty without git."""
    said = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"],
        check=False,
        capture_output=True,
        text=True,
    )
    return said.stdout.strip()


def versions(root: Path) -> dict[str, str]:
    """Return the versions of the software outside the cluster."""
    return {
        "sources": commit(root),
        "Linux": platform.release(),
        "Python": platform.python_version(),
        "argon2-cffi": version("argon2-cffi"),
        "httpx2": version("httpx2"),
    }
