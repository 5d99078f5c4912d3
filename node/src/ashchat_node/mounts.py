"""Lists and detaches mounts below a folder, and removes trees safely.

Removing a tree with a bind mount would delete the mounted files, so `remove_tree` detaches every
mount first and fails if one stays.
"""

import contextlib
import ctypes
import os
import re
import shutil
from pathlib import Path
from typing import Final

from ashchat_node.errors import NodeError

# umount2(2): the mount disappears from the tree at once and for good when no longer in use.
MNT_DETACH: Final = 2
_MOUNT_POINT_FIELD: Final = 4
_libc = ctypes.CDLL(None, use_errno=True)


def parse_mount_points(mountinfo: str) -> list[Path]:
    """Return the mount points of a mountinfo file (proc(5)), in its order."""
    return [
        Path(_unescape(fields[_MOUNT_POINT_FIELD]))
        for line in mountinfo.splitlines()
        if len(fields := line.split()) > _MOUNT_POINT_FIELD
    ]


def _unescape(text: str) -> str:
    """Undo proc(5)'s octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def below(folder: Path) -> list[Path]:
    """Return the mount points at or below a folder, innermost first."""
    points = parse_mount_points(Path("/proc/self/mountinfo").read_text())
    found = [point for point in points if point == folder or folder in point.parents]
    return found[::-1]


def release_below(folder: Path) -> None:
    """Detach every mount at or below a folder; one in use disappears when it becomes idle."""
    for point in below(folder.resolve()):
        # A failure leaves the mount in `below`; detaching one may detach others.
        _libc.umount2(os.fsencode(point), MNT_DETACH)


def remove_tree(folder: Path) -> None:
    """Remove a folder with its content, but never through a mount.

    Raises:
        NodeError: Something is mounted below it and cannot be detached.
    """
    if not folder.exists():
        return
    release_below(folder)
    if left := below(folder.resolve()):
        raise NodeError(
            "remove", f"{left[0]} is mounted and cannot be released", what_to_do="Unmount it."
        )
    while folder.exists():
        # Another process may remove files at the same time.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
