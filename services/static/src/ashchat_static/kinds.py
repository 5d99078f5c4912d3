"""Detects accepted file types by their first bytes, never by what the client claims.

Images, voice and video notes, and documents that no browser executes. SVG and HTML are rejected,
because both may contain scripts. The signatures are from the WHATWG's MIME Sniffing standard
(https://mimesniff.spec.whatwg.org/, sections 6 and 7.1), including PDF.
"""

from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 64
"""How much of a file `sniff` needs (all of a smaller file)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """An accepted type of file."""

    extension: str
    media_type: str
    inline: bool = True
    """Whether a browser may display the file; otherwise it is downloaded."""


PNG: Final = Kind("png", "image/png")
JPEG: Final = Kind("jpg", "image/jpeg")
GIF: Final = Kind("gif", "image/gif")
WEBP: Final = Kind("webp", "image/webp")
PDF: Final = Kind("pdf", "application/pdf", inline=False)
MP4: Final = Kind("mp4", "video/mp4")
M4A: Final = Kind("m4a", "audio/mp4")
WEBM: Final = Kind("webm", "video/webm")
OGG: Final = Kind("ogg", "audio/ogg")
MP3: Final = Kind("mp3", "audio/mpeg")

KINDS: Final = (PNG, JPEG, GIF, WEBP, PDF, MP4, M4A, WEBM, OGG, MP3)
BY_EXTENSION: Final = {kind.extension: kind for kind in KINDS}

_PREFIXES: Final = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"%PDF-", PDF),
    (b"OggS\x00", OGG),
    (b"ID3", MP3),
)

# ISO/IEC 14496-12 brands (https://mp4ra.org/registered-types/brands) that browsers play;
# not QuickTime, HEIC or AVIF.
_MP4_BRANDS: Final = frozenset(
    {b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"dash", b"M4V "}
)


def sniff(head: bytes) -> Kind | None:
    """Return a file's type by its first HEAD_BYTES; None if it is not accepted."""
    for prefix, kind in _PREFIXES:
        if head.startswith(prefix):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp":
        return M4A if head[8:12] == b"M4A " else MP4 if head[8:12] in _MP4_BRANDS else None
    # Matroska is EBML, too; WebM has its own DocType.
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"\x42\x82\x84webm" in head:
        return WEBM
    return MP3 if _is_mp3_frame(head) else None


# A frame's header, four bytes: eleven bits set, version, layer, protection, bit rate,
# sample rate, … (ISO/IEC 11172-3, 2.4.2.3). Layer III, and no reserved value.
_SYNC_AND_LAYER, _LAYER_3 = 0xFFE6, 0xFFE2
_VERSION, _RESERVED_VERSION = 0x0018, 0x0008
_NO_BIT_RATES: Final = (0x0, 0xF)
_RESERVED_SAMPLE_RATE: Final = 3


def _is_mp3_frame(head: bytes) -> bool:
    if len(head) < HEAD_BYTES:
        return False
    start = int.from_bytes(head[:2])
    return (
        start & _SYNC_AND_LAYER == _LAYER_3
        and start & _VERSION != _RESERVED_VERSION
        and head[2] >> 4 not in _NO_BIT_RATES
        and head[2] >> 2 & 3 != _RESERVED_SAMPLE_RATE
    )
