"""A folder of files that may change while the service runs, read again when it does.

A Secret mount is swapped as a whole; the files' names and times are enough to see it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")


class WatchedFolder(Generic[T]):
    """What a folder holds, as something loaded from it."""

    def __init__(self, folder: Path, pattern: str, load: Callable[[list[Path], str], T]) -> None:
        """Watch a folder.

        Args:
            folder: Where the files are.
            pattern: Which of them are loaded; `active` is beside them and names one.
            load: Makes something of the files and of what `active` says. It may raise
                OSError, ValueError or TypeError.
        """
        self._folder = folder
        self._pattern = pattern
        self._load = load
        self._stamp: tuple[tuple[str, int], ...] = ()
        self._loaded: T | None = None

    def current(self) -> T:
        """Return what was loaded last; what was good stays when the folder is not.

        Raises:
            OSError, ValueError, TypeError: nothing was ever good.
        """
        try:
            paths = sorted(self._folder.glob(self._pattern))
            active = self._folder / "active"
            stamp = tuple((path.name, path.stat().st_mtime_ns) for path in [*paths, active])
            if self._loaded is None or stamp != self._stamp:
                self._loaded = self._load(paths, active.read_text().strip())
                self._stamp = stamp
        except (OSError, ValueError, TypeError) as error:
            # A folder that is being changed, or is broken.
            if self._loaded is None:
                raise
            structlog.get_logger("keys").error(
                "keys unusable", folder=self._folder.name, kind=type(error).__name__
            )
        return self._loaded
