"""What an account has stored and uploaded, in a file in its folder on the volume.

The file is written under the lock of the folder. If it is missing, the files are counted.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from ashchat_static.service import Quota, kind_of, quota_exceeded, too_many_uploads

USAGE: Final = ".usage"
DAY_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account has stored, and its uploads since the start of its current day."""

    stored_bytes: int
    since: float = 0.0
    """Unix time of the first upload of the day."""

    uploads: int = 0

    def with_upload(self, now: float, quota: Quota) -> "Usage":
        """Count an upload.

        Raises:
            UploadRejectedError: the account has uploaded too often, or stores too much already.
        """
        day = self if 0 <= now - self.since < DAY_SECONDS else Usage(self.stored_bytes, now)
        if day.uploads >= quota.uploads_per_day:
            raise too_many_uploads(quota, day.since + DAY_SECONDS - now)
        if self.stored_bytes >= quota.stored_bytes:
            raise quota_exceeded(quota, self.stored_bytes)
        return replace(day, uploads=day.uploads + 1)

    def with_file(self, size: int, quota: Quota) -> "Usage":
        """Count a stored file.

        Raises:
            UploadRejectedError: the account would store too much.
        """
        if self.stored_bytes + size > quota.stored_bytes:
            raise quota_exceeded(quota, self.stored_bytes)
        return replace(self, stored_bytes=self.stored_bytes + size)

    def without_file(self, size: int) -> "Usage":
        """Count a removed file."""
        return replace(self, stored_bytes=max(0, self.stored_bytes - size))


def read(folder: Path, owned: Path) -> Usage:
    """Return an account's usage.

    Args:
        folder: The folder of all uploads.
        owned: The account's folder.
    """
    try:
        return Usage(**json.loads((owned / USAGE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return Usage(sum(size_of(folder / marker.name) for marker in markers(owned)))


def write(owned: Path, usage: Usage) -> None:
    """Replace an account's usage."""
    draft = owned / f"{USAGE}.new"
    draft.write_text(json.dumps(asdict(usage)))
    draft.replace(owned / USAGE)


def markers(owned: Path) -> list[Path]:
    """Return the markers of an account's files."""
    return [marker for marker in owned.iterdir() if kind_of(marker.name)]


def size_of(path: Path) -> int:
    """Return the size of a file; 0 if it does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
