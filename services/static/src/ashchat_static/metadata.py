"""Removes metadata from files without decoding them: positions, serial numbers, times, names.

What is displayed does not change: pixels are not compressed again, and colour profiles, the
orientation and animations stay. The libraries that could do this compress again (Pillow), or have
a licence that ours excludes (exiv2, mutagen).

Formats: JPEG (ITU T.81, annex B), PNG (https://www.w3.org/TR/png-3/), GIF89a, WebP
(https://developers.google.com/speed/webp/docs/riff_container), ISO/IEC 14496-12 (MP4), ID3.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from ashchat_static.kinds import GIF, JPEG, M4A, MP3, MP4, PNG, WEBP, Kind

PARTS_MAX: Final = 200_000
"""Maximum parts (segments, chunks, blocks, boxes) of a file: far more than encoders write."""

UPRIGHT: Final = 1
"""The orientation of a picture that is displayed as stored (Exif 2.32, tag 274)."""

_ORIENTATIONS: Final = range(1, 9)


class MalformedFileError(Exception):
    """The file does not have the structure of its type."""


def remove(kind: Kind, data: bytes) -> bytes:
    """Return a file without its metadata. Types without a rule are returned unchanged.

    Raises:
        MalformedFileError: The file does not have the structure of its type.
    """
    rule = _RULES.get(kind)
    if rule is None:
        return data
    try:
        return rule(data)
    except (IndexError, struct.error):
        raise MalformedFileError from None


def orientation(tiff: bytes) -> int:
    """Return the orientation in Exif data (TIFF 6.0); UPRIGHT if there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    try:
        if order is not None:
            (start,) = struct.unpack_from(order + "I", tiff, 4)
            (count,) = struct.unpack_from(order + "H", tiff, start)
            for at in range(start + 2, start + 2 + count * 12, 12):
                tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, at)
                if tag == _ORIENTATION_TAG and kind == _SHORT and value in _ORIENTATIONS:
                    return int(value)
    except struct.error:
        pass
    return UPRIGHT


_ORIENTATION_TAG, _SHORT = 0x0112, 3


def _exif(value: int) -> bytes:
    """Return Exif data with nothing but an orientation."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _ORIENTATION_TAG, _SHORT, 1, value, 0, 0)


# JPEG

_SOI, _MARKER, _EOI, _SOS = b"\xff\xd8", 0xFF, 0xD9, 0xDA
_LENGTH_BYTES: Final = 2
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_APPLICATION: Final = frozenset({*range(0xE0, 0xF0), 0xFE})
_JFIF_BYTES: Final = 18
"""Size of a JFIF segment up to its thumbnail, with marker and length."""


def _jpeg(data: bytes) -> bytes:
    kept: list[bytes] = []
    turned = UPRIGHT
    first = b""
    for marker, segment in _jpeg_segments(data):
        content = segment[4:]
        if marker not in _APPLICATION:
            kept.append(segment)
        elif content.startswith(b"JFIF\0") and not first:
            # Without its thumbnail, which may show what was cut off later.
            first = b"\xff\xe0\0\x10" + content[:12].ljust(12, b"\0") + b"\0\0"
        elif content.startswith((b"ICC_PROFILE\0", b"Adobe")):
            kept.append(segment)
        elif content.startswith(b"Exif\0\0") and turned == UPRIGHT:
            turned = orientation(content[6:])
    if turned != UPRIGHT:
        content = b"Exif\0\0" + _exif(turned)
        first += b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    # What follows the end is not part of the picture: other pictures, the video of a motion photo.
    return _SOI + first + b"".join(kept) + bytes((_MARKER, _EOI))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and bytes of each segment before the end; a scan includes its data."""
    at = len(_SOI)
    for _ in range(PARTS_MAX):
        while data[at] == data[at + 1] == _MARKER:
            at += 1
        marker = data[at + 1]
        if data[at] != _MARKER or marker == 0:
            raise MalformedFileError
        if marker == _EOI:
            return
        if marker in _WITHOUT_LENGTH:
            end = at + 2
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            end = at + 2 + length
            if length < _LENGTH_BYTES or end > len(data):
                raise MalformedFileError
        if marker == _SOS:
            found = _NEXT_MARKER.search(data, end)
            # A picture that is cut off is displayed as far as it goes.
            end = found.start() if found else len(data)
            yield marker, data[at:end]
            if found is None:
                return
        else:
            yield marker, data[at:end]
        at = end
    raise MalformedFileError


# PNG

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD pHYs acTL fcTL "
    b"fdAT".split()
)


def _png(data: bytes) -> bytes:
    kept = [_PNG_SIGNATURE]
    turned = UPRIGHT
    at = len(_PNG_SIGNATURE)
    for number in range(PARTS_MAX):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data) or (number == 0) != (name == b"IHDR"):
            raise MalformedFileError
        if name in _PNG_KEPT:
            kept.append(data[at:end])
        elif name == b"eXIf":
            turned = orientation(data[at + 8 : end - 4])
        if name == b"IEND":
            if turned != UPRIGHT:
                kept.insert(2, _png_chunk(b"eXIf", _exif(turned)))
            return b"".join(kept)
        at = end
    raise MalformedFileError


def _png_chunk(name: bytes, content: bytes) -> bytes:
    checked = name + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


# WebP

_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04
_WEBP_FRAME: Final = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_WEBP_KEPT: Final = _WEBP_FRAME | {b"VP8X", b"ANIM", b"ANMF", b"ICCP"}
_WEBP_FRAME_HEADER_BYTES: Final = 16


def _webp(data: bytes) -> bytes:
    size = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    chunks = list(_riff_chunks(data, 12, size))
    if not any(name in _WEBP_KEPT for name, _ in chunks):
        raise MalformedFileError
    turned = UPRIGHT
    for name, content in chunks:
        if name == b"EXIF":
            turned = orientation(content.removeprefix(b"Exif\0\0"))
    kept = []
    for name, content in chunks:
        if name == b"VP8X":
            flags = content[0] & ~(_WEBP_EXIF | _WEBP_XMP)
            flags |= _WEBP_EXIF if turned != UPRIGHT else 0
            kept.append(_riff_chunk(name, bytes((flags,)) + content[1:]))
        elif name == b"ANMF":
            inner = _riff_chunks(content, _WEBP_FRAME_HEADER_BYTES, len(content))
            frame = b"".join(_riff_chunk(*one) for one in inner if one[0] in _WEBP_FRAME)
            kept.append(_riff_chunk(name, content[:_WEBP_FRAME_HEADER_BYTES] + frame))
        elif name in _WEBP_KEPT:
            kept.append(_riff_chunk(name, content))
    if turned != UPRIGHT and chunks[0][0] == b"VP8X":
        kept.append(_riff_chunk(b"EXIF", _exif(turned)))
    return _riff_chunk(b"RIFF", b"WEBP" + b"".join(kept))


def _riff_chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(PARTS_MAX):
        if at + 8 > end:
            return
        name, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise MalformedFileError
        yield name, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise MalformedFileError


def _riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


# GIF

_GIF_EXTENSION, _GIF_IMAGE, _GIF_END = 0x21, 0x2C, 0x3B
_GIF_CONTROL, _GIF_APPLICATION = 0xF9, 0xFF
_GIF_KEPT: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")
"""Applications whose extensions are displayed: how often an animation repeats, colour profiles."""


def _gif(data: bytes) -> bytes:
    at = 13 + _gif_colours(data[10])
    kept = [data[:at]]
    blocks = 0
    while at < len(data) and data[at] != _GIF_END:
        start = at
        if data[at] == _GIF_EXTENSION:
            label, at = data[at + 1], at + 2
        elif data[at] == _GIF_IMAGE:
            label, at = _GIF_IMAGE, at + 10 + _gif_colours(data[at + 9]) + 1
        else:
            raise MalformedFileError
        name = data[at + 1 : at + 12]
        while length := data[at]:
            at += 1 + length
            blocks += 1
            if blocks > PARTS_MAX:
                raise MalformedFileError
        at += 1
        if label in {_GIF_IMAGE, _GIF_CONTROL} or (label == _GIF_APPLICATION and name in _GIF_KEPT):
            kept.append(data[start:at])
    return b"".join(kept) + bytes((_GIF_END,))


def _gif_colours(flags: int) -> int:
    """Return the size of the colour table that a packed field describes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


# MP4

_MP4_PARENTS: Final = frozenset({b"moov", b"trak", b"mdia", b"moof", b"traf"})
_MP4_REMOVED: Final = frozenset({b"udta", b"meta", b"uuid", b"free", b"skip"})
_MP4_TIMES: Final = frozenset({b"mvhd", b"tkhd", b"mdhd"})


def _mp4(data: bytes) -> bytes:
    """Overwrite metadata in place, because tables in the file contain positions of others."""
    result = bytearray(data)
    left = [(0, len(data))]
    boxes = 0
    while left:
        at, end = left.pop()
        while at + 8 <= end:
            boxes += 1
            size, name = struct.unpack_from(">I4s", data, at)
            header = 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", data, at + 8)
                header = 16
            # 0 is up to the end; a file that is cut off is played as far as it goes.
            stop = end if size == 0 else min(at + size, end)
            if boxes > PARTS_MAX or at + header > stop:
                raise MalformedFileError
            start = at + header
            if name in _MP4_REMOVED or (name == b"trak" and _timed(data[start:stop])):
                result[at + 4 : at + 8] = b"free"
                result[start:stop] = bytes(stop - start)
            elif name in _MP4_TIMES:
                width = 16 if data[start] == 1 else 8
                result[start + 4 : min(start + 4 + width, stop)] = bytes(
                    max(0, min(width, stop - start - 4))
                )
            elif name in _MP4_PARENTS:
                left.append((start, stop))
            at = stop
    return bytes(result)


def _timed(track: bytes) -> bool:
    """Return whether a track is a record of metadata over time, such as positions."""
    at = track.find(b"hdlr")
    return track[at + 12 : at + 16] in {b"meta", b"mett", b"camm"}


# MP3

_ID3_FOOTER, _ID3V1_BYTES = 0x10, 128


def _mp3(data: bytes) -> bytes:
    at, end = 0, len(data)
    while data.startswith(b"ID3", at):
        # Seven bits a byte, so that a size never looks like a frame.
        a, b, c, d = data[at + 6], data[at + 7], data[at + 8], data[at + 9]
        size = (a & 127) << 21 | (b & 127) << 14 | (c & 127) << 7 | d & 127
        at += 10 + size + (10 if data[at + 5] & _ID3_FOOTER else 0)
    if data.startswith(b"TAG", max(at, end - _ID3V1_BYTES)):
        end -= _ID3V1_BYTES
    if at >= end:
        raise MalformedFileError
    return data[at:end]


_RULES: Final[Mapping[Kind, Callable[[bytes], bytes]]] = MappingProxyType(
    {JPEG: _jpeg, PNG: _png, WEBP: _webp, GIF: _gif, MP4: _mp4, M4A: _mp4, MP3: _mp3}
)
