"""Files as cameras and programs write them, with metadata that contains SECRET."""

import io
import random
import struct
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

from PIL import Image, ImageCms, PngImagePlugin

SECRET: Final = b"SECRET"
PROFILE: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ROTATED: Final = 6
_ORIENTATION, _MAKER, _GPS, _LATITUDE = 0x0112, 0x010F, 0x8825, 2


def encoded(format_: str, frames: int = 1, **options: Any) -> bytes:
    """Return noise in a format of Pillow."""
    pixels = [random.Random(seed).randbytes(48 * 32 * 3) for seed in range(frames)]  # noqa: S311
    images = [Image.frombytes("RGB", (48, 32), content) for content in pixels]
    if frames > 1:
        options |= {"save_all": True, "append_images": images[1:], "duration": 70, "loop": 0}
    file = io.BytesIO()
    images[0].save(file, format_, **options)
    return file.getvalue()


def exif(orientation: int = ROTATED) -> Image.Exif:
    """Return what a camera writes: its name, the position, and how it was held."""
    data = Image.Exif()
    data[_ORIENTATION] = orientation
    data[_MAKER] = SECRET.decode()
    data.get_ifd(_GPS)[_LATITUDE] = (48.0, 12.0, 0.0)
    return data


def png() -> bytes:
    """Return a valid picture without metadata."""
    return encoded("PNG")


def noise(seed: int, size: int) -> bytes:
    """Return a valid picture of about a size in bytes, different for each seed."""
    side = max(1, int((size / 3) ** 0.5))
    pixels = random.Random(seed).randbytes(side * side * 3)  # noqa: S311
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(file, "PNG")
    return file.getvalue()


def jpeg(orientation: int = ROTATED) -> bytes:
    """Return a motion photo: Exif with a position, XMP, a comment, a profile, and a video."""
    picture = encoded(
        "JPEG", exif=exif(orientation), icc_profile=PROFILE, comment=SECRET, xmp=b"<x>SECRET</x>"
    )
    return picture + mp4()


def png_with_metadata(orientation: int = ROTATED) -> bytes:
    """Return a PNG with Exif, a profile, and all three kinds of text."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", SECRET.decode())
    text.add_text("Comment", SECRET.decode() * 2, zip=False)
    text.add_itxt("XML:com.adobe.xmp", f"<x>{SECRET.decode()}</x>")
    return encoded("PNG", exif=exif(orientation), icc_profile=PROFILE, pnginfo=text) + SECRET


def webp(orientation: int = ROTATED) -> bytes:
    """Return a WebP with Exif, XMP and a profile."""
    return encoded("WEBP", exif=exif(orientation), icc_profile=PROFILE, xmp=b"<x>SECRET</x>")


def animated_webp() -> bytes:
    """Return an animation with Exif."""
    return encoded("WEBP", frames=3, exif=exif(), xmp=b"<x>SECRET</x>")


def gif() -> bytes:
    """Return an animation with a comment and XMP."""
    plain = encoded("GIF", frames=3, comment=SECRET)
    xmp = b"\x21\xff\x0bXMP DataXMP\x06SECRET\x00"
    return plain[:-1] + xmp + plain[-1:]


def box(name: bytes, *content: bytes) -> bytes:
    """Return a box of ISO/IEC 14496-12."""
    joined = b"".join(content)
    return struct.pack(">I", len(joined) + 8) + name + joined


SAMPLES: Final = b"samples of sound and picture"


def mp4(brand: bytes = b"isom") -> bytes:
    """Return the structure of a phone's video: times, a position, and a track of positions."""
    made = b"\0\0\0\0" + SECRET[:4] + SECRET[:4] + bytes(12)
    handlers = {name: box(b"hdlr", bytes(8), name, bytes(12), b"\0") for name in (b"vide", b"meta")}
    video = box(b"trak", box(b"tkhd", made), box(b"mdia", box(b"mdhd", made), handlers[b"vide"]))
    positions = box(b"trak", box(b"mdia", handlers[b"meta"], box(b"minf", SECRET)))
    place = box(b"udta", box(b"\xa9xyz", b"\0\x08\x15\xc7SECRET"))
    return b"".join(
        (
            box(b"ftyp", brand, bytes(4), b"isommp42"),
            box(b"uuid", bytes(16), SECRET),
            box(b"mdat", SAMPLES),
            box(b"moov", box(b"mvhd", made), video, positions, place, box(b"meta", SECRET)),
        )
    )


def m4a() -> bytes:
    """Return the structure of a voice note."""
    return mp4(b"M4A ")


MP3_FRAMES: Final = (b"\xff\xfb\x90\x64" + bytes(413)) * 4


def mp3() -> bytes:
    """Return frames between both kinds of ID3 tags."""
    tag = b"TIT2\0\0\0\x07\0\0\0SECRET"
    return b"ID3\x03\0\0\0\0\0" + bytes((len(tag),)) + tag + MP3_FRAMES + (b"TAGSECRET".ljust(128))


WITH_METADATA: Final = MappingProxyType[str, Callable[[], bytes]](
    {
        "jpeg": jpeg,
        "png": png_with_metadata,
        "webp": webp,
        "webp-animated": animated_webp,
        "gif": gif,
        "mp4": mp4,
        "m4a": m4a,
        "mp3": mp3,
    }
)
