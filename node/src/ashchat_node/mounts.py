"""Mounts below a folder: listed, released, and never deleted through.

Removing a tree that still holds a bind mount would delete what is mounted there, so
`remove_tree` releases every mount first and refuses when one stays.
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
    """Returns the mount points of a mountinfo file (proc(5)), in its order."""
    return [
        Path(_unescape(fields[_MOUNT_POINT_FIELD]))
        for line in mountinfo.splitlines()
        if len(fields := line.split()) > _MOUNT_POINT_FIELD
    ]


def _unescape(text: str) -> str:
    """Undoes proc(5)'s octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def below(folder: Path) -> list[Path]:
    """Returns the mount points at or below a folder, the innermost first."""
    points = parse_mount_points(Path("/proc/self/mountinfo").read_text())
    found = [point for point in points if point == folder or folder in point.parents]
    return found[::-1]


def release_below(folder: Path) -> None:
    """Detaches every mount at or below a folder; what is in use ends when its user does."""
    for point in below(folder.resolve()):
        # Failures show in what `below` still finds; one mount may carry another away.
        _libc.umount2(os.fsencode(point), MNT_DETACH)


def remove_tree(folder: Path) -> None:
    """Removes a folder with everything in it, never through a mount.

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
        # What somebody else removes at the same time is no failure.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
