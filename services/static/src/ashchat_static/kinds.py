"""Detects accepted file types by their first bytes, never by what the client claims.

Images, voice and video notes, and documents that no browser executes. SVG and HTML are rejected,
because both may contain scripts. Types are detected as the WHATWG's MIME Sniffing standard
specifies (https://mimesniff.spec.whatwg.org/, sections 6 and 7.1).
"""

from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 1445
"""How much of a file `sniff` needs (all of a smaller file): the standard's resource header."""


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

IMAGES: Final = (PNG, JPEG, GIF, WEBP)
"""Accepted profile photos."""

_PREFIXES: Final = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"%PDF-", PDF),
    (b"OggS\x00", OGG),
    (b"ID3", MP3),
)

# Brands (https://mp4ra.org/registered-types/brands) of files that browsers play, besides the
# standard's: phones and browsers record files that have none of those. Not QuickTime, HEIC, AVIF.
_MP4_BRANDS: Final = frozenset(
    {b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"avc1", b"dash", b"M4V ", b"3gp4", b"3gp5"}
)
_NO_MP4_BRANDS: Final = frozenset({b"qt  ", b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"})


def sniff(head: bytes) -> Kind | None:
    """Return a file's type by its first HEAD_BYTES; None if it is not accepted."""
    for prefix, kind in _PREFIXES:
        if head.startswith(prefix):
            return kind
    if head[:4] == b"RIFF" and head[8:14] == b"WEBPVP":
        return WEBP
    brands = _mp4_brands(head)
    if brands:
        return _mp4_kind(brands)
    if _is_webm(head):
        return WEBM
    return MP3 if _is_mp3(head) else None


def _mp4_brands(head: bytes) -> list[bytes]:
    """Return the major and the compatible brands (section 6.2.1); empty if it is not MP4."""
    size = int.from_bytes(head[:4])
    if len(head) < _MP4_HEAD_BYTES or size < _MP4_HEAD_BYTES or size % 4 or head[4:8] != b"ftyp":
        return []
    # Between them is the minor version.
    return [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))]


_MP4_HEAD_BYTES: Final = 12


def _mp4_kind(brands: list[bytes]) -> Kind | None:
    major = brands[0]
    if major == b"M4A ":
        return M4A
    if major in _NO_MP4_BRANDS:
        return None
    standard = any(brand.startswith(b"mp4") for brand in brands)
    return MP4 if standard or major in _MP4_BRANDS else None


_EBML, _DOC_TYPE, _DOC_TYPE_WITHIN_BYTES = b"\x1a\x45\xdf\xa3", b"\x42\x82", 38


def _is_webm(head: bytes) -> bool:
    """Return whether it is WebM (section 6.2.2); Matroska is EBML with another DocType."""
    if not head.startswith(_EBML):
        return False
    at = head.find(_DOC_TYPE, 4, _DOC_TYPE_WITHIN_BYTES + 2)
    while at >= 0:
        # The size is a number of one to eight bytes; zeros may precede the text.
        size = head[at + 2 : at + 3]
        width = 9 - size[0].bit_length() if size and size[0] else 9
        text = head[at + 2 + width :].lstrip(b"\0")
        if width <= _EBML_NUMBER_BYTES and text.startswith(b"webm"):
            return True
        at = head.find(_DOC_TYPE, at + 1, _DOC_TYPE_WITHIN_BYTES + 2)
    return False


_EBML_NUMBER_BYTES: Final = 8

# A frame's header, four bytes: eleven bits set, version, layer, protection, bit rate, sample rate,
# padding, … (ISO/IEC 11172-3, 2.4.2.3). Layer III, and no reserved value.
_SYNC_AND_LAYER, _LAYER_3 = 0xFFE6, 0xFFE2
_RESERVED_VERSION, _VERSION_1, _RESERVED_SAMPLE_RATE = 1, 3, 3
_BIT_RATES: Final = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Kilobits per second, for version 1 and for the others; 0: any."""

_SAMPLE_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _is_mp3(head: bytes) -> bool:
    """Return whether it starts with two frames (section 6.2.3)."""
    size = _mp3_frame_bytes(head, 0)
    return size is not None and _mp3_frame_bytes(head, size) is not None


def _mp3_frame_bytes(head: bytes, at: int) -> int | None:
    """Return the size of the frame at a position; None if there is none."""
    if at + 4 > len(head) or int.from_bytes(head[at : at + 2]) & _SYNC_AND_LAYER != _LAYER_3:
        return None
    version, bits = head[at + 1] >> 3 & 3, head[at + 2]
    rate, sample = bits >> 4, bits >> 2 & 3
    if version == _RESERVED_VERSION or sample == _RESERVED_SAMPLE_RATE:
        return None
    if not 0 < rate < len(_BIT_RATES[True]):
        return None
    first = version == _VERSION_1
    samples = _SAMPLE_RATES[version][sample]
    return (144 if first else 72) * _BIT_RATES[first][rate] * 1000 // samples + (bits >> 1 & 1)
