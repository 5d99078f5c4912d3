"""Pictures to upload."""

import secrets
import struct
import zlib

SECRET = b"SECRET"
"""What a picture's metadata contains."""

_LINE_BYTES = 3 * 1024


def png(size: int = 0, *, metadata: bool = False) -> bytes:
    """Return a valid picture of random pixels, of at least a size in bytes.

    Static returns it byte for byte, unless it has metadata.
    """
    lines = size // _LINE_BYTES + 1
    pixels = b"".join(b"\0" + secrets.token_bytes(_LINE_BYTES) for _ in range(lines))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", _LINE_BYTES // 3, lines, 8, 2, 0, 0, 0)),
            _chunk(b"tEXt", b"Author\0" + SECRET) if metadata else b"",
            _chunk(b"IDAT", zlib.compress(pixels, 0)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))
