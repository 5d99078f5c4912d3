"""Whether a machine has the memory that a cluster needs."""

import re
from pathlib import Path
from typing import Final

from ashchat_dev.kind.settings import STEP
from ashchat_node.errors import NodeError

MEMORY_BYTES: Final = 3 * 2**30
"""What the first node with an AshChat uses: 2.6 GiB (results/kind.md), and a margin."""


def require_memory(meminfo: Path = Path("/proc/meminfo")) -> None:
    """Refuse a machine whose available memory is not enough for a cluster with an AshChat.

    Raises:
        NodeError: It is not; elsewhere than on Linux, Docker's virtual machine decides.
    """
    if not meminfo.exists():
        return
    available = parse_available(meminfo.read_text())
    if available < MEMORY_BYTES:
        raise NodeError(
            STEP,
            f"a cluster needs {_gib(MEMORY_BYTES)} of memory, and {_gib(available)} are available",
            what_to_do="Stop other programs, or remove another cluster with make down.",
        )


def parse_available(meminfo: str) -> int:
    """Return the available memory in bytes from the contents of /proc/meminfo (proc(5))."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    if match is None:
        raise ValueError("the contents of /proc/meminfo have no MemAvailable")
    return int(match[1]) * 1024


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
