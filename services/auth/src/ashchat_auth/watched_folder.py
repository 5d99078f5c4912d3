"""A folder of files that is read again when it changes while the service runs.

A Secret mount is replaced as a whole; the files' names and times are enough to detect it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")


class WatchedFolder(Generic[T]):
    """What was last loaded from a folder."""

    def __init__(self, folder: Path, pattern: str, load: Callable[[list[Path], str], T]) -> None:
        """Watch a folder.

        Args:
            folder: Where the files are.
            pattern: Which of them are loaded; the file `active` next to them names one.
            load: Loads the files; gets the content of `active`, too. It may raise OSError,
                ValueError or TypeError.
        """
        self._folder = folder
        self._pattern = pattern
        self._load = load
        self._stamp: tuple[tuple[str, int], ...] = ()
        self._loaded: T | None = None

    def current(self) -> T:
        """Return what is in the folder, or what was loaded last if it is not usable.

        Raises:
            OSError, ValueError, TypeError: the folder has never been usable.
        """
        try:
            paths = sorted(self._folder.glob(self._pattern))
            active = self._folder / "active"
            stamp = tuple((path.name, path.stat().st_mtime_ns) for path in [*paths, active])
            if self._loaded is None or stamp != self._stamp:
                self._loaded = self._load(paths, active.read_text().strip())
                self._stamp = stamp
        except (OSError, ValueError, TypeError) as error:
            # The folder is being replaced, or is broken.
            if self._loaded is None:
                raise
            structlog.get_logger("keys").error(
                "the keys are not usable", folder=self._folder.name, kind=type(error).__name__
            )
        return self._loaded
