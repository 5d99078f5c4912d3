"""The Range header (RFC 9110, section 14)."""

import re
from dataclasses import dataclass
from typing import Final

_SINGLE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class UnsatisfiableRangeError(Exception):
    """The range is outside of the file (416)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file, in bytes from its start."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """Return the value of Content-Range."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def parse(header: str | None, size: int) -> Part | None:
    """Return the requested part; None for the whole file.

    An invalid header and several ranges are ignored (section 14.2 allows both).

    Raises:
        UnsatisfiableRangeError: the range is valid, but outside of the file.
    """
    match = _SINGLE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = min(int(match[2]), size)
        if length == 0:
            raise UnsatisfiableRangeError
        return Part(size - length, length)
    start = int(match[1])
    end = int(match[2]) if match[2] else size - 1
    if match[2] and end < start:
        return None  # not a valid range
    if start >= size:
        raise UnsatisfiableRangeError
    return Part(start, min(end, size - 1) - start + 1)


def matches(header: str | None, etag: str) -> bool:
    """Return whether If-None-Match contains this entity tag (weak comparison, section 13.1.2)."""
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag in tags
