"""Metadata is removed, and what is displayed stays the same (decoded by Pillow)."""

import contextlib
import io
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

import static_pictures as pictures
from ashchat_static import metadata
from ashchat_static.kinds import GIF, HEAD_BYTES, JPEG, MP3, MP4, PNG, WEBP, Kind, sniff
from ashchat_static.metadata import MalformedFileError, remove
from static_pictures import PROFILE, ROTATED, SECRET, WITH_METADATA

ORIENTATION = 0x0112


def kind_of(data: bytes) -> Kind:
    kind = sniff(data[:HEAD_BYTES])
    assert kind is not None
    return kind


def frames(data: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return [frame.convert("RGBA").tobytes() for frame in ImageSequence.Iterator(image)]


@pytest.mark.parametrize("name", WITH_METADATA)
def test_nothing_of_it_is_left(name: str) -> None:
    data = WITH_METADATA[name]()
    assert SECRET in data
    cleaned = remove(kind_of(data), data)
    assert SECRET not in cleaned
    assert SECRET[:4] not in cleaned
    assert kind_of(cleaned) == kind_of(data)
    assert remove(kind_of(data), cleaned) == cleaned


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "webp-animated", "gif"])
def test_a_picture_looks_the_same(name: str) -> None:
    data = WITH_METADATA[name]()
    cleaned = remove(kind_of(data), data)
    assert frames(cleaned) == frames(data)
    for key in ("icc_profile", "loop", "duration", "transparency", "dpi", "gamma"):
        before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(cleaned))
        assert after.info.get(key) == before.info.get(key), key


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["jpeg", "png_with_metadata", "webp"])
def test_the_orientation_and_the_profile_stay(name: str, orientation: int) -> None:
    data = getattr(pictures, name)(orientation)
    with Image.open(io.BytesIO(remove(kind_of(data), data))) as image:
        assert image.getexif().get(ORIENTATION, 1) == orientation
        assert set(image.getexif()) <= {ORIENTATION}
        assert image.info["icc_profile"] == PROFILE


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_the_colours_of_a_jpeg_stay(mode: str) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(pictures.png())).convert(mode).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    assert frames(remove(JPEG, data)) == frames(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", [0, 1, 6, 9])
def test_exif_of_either_byte_order(order: str, value: int) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tiff = mark + struct.pack(order + "IHHHIHH", 8, 1, ORIENTATION, 3, 1, value, 0)
    assert metadata.orientation(tiff) == (6 if value == ROTATED else 1)
    assert metadata.orientation(tiff[:-6]) == 1


def test_positions_within_a_video_stay() -> None:
    data = pictures.mp4()
    cleaned = remove(MP4, data)
    assert len(cleaned) == len(data)
    assert cleaned.index(pictures.SAMPLES) == data.index(pictures.SAMPLES)
    assert cleaned.count(b"trak") == 1


def test_the_frames_of_an_mp3_stay() -> None:
    assert remove(MP3, pictures.mp3()) == pictures.MP3_FRAMES


def test_a_jpeg_that_is_cut_off_stays_as_far_as_it_goes() -> None:
    data = pictures.encoded("JPEG", exif=pictures.exif())
    cleaned = remove(JPEG, data[:-100])
    assert cleaned.endswith(b"\xff\xd9")
    assert SECRET not in cleaned


@pytest.mark.parametrize("name", WITH_METADATA)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_the_bytes_it_ends_with_a_file_or_a_refusal(
    name: str, data: st.DataObject
) -> None:
    content = bytearray(WITH_METADATA[name]())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    kind = kind_of(WITH_METADATA[name]())
    with contextlib.suppress(MalformedFileError):
        cleaned = remove(kind, cut)
        assert len(cleaned) <= len(cut) + 64


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (GIF, b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\x01x" * 4_000_000),
        (PNG, b"\x89PNG\r\n\x1a\n\0\0\0\0IHDR\0\0\0\0" + b"\0\0\0\0abcd\0\0\0\0" * 800_000),
        (JPEG, b"\xff\xd8" + b"\xff\xfe\0\x02" * 2_500_000),
        (JPEG, b"\xff\xd8\xff\xda\0\x02" + b"\xff\0" * 5_000_000),
        (MP4, b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 1_200_000),
        (MP4, b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x00moov" * 1_200_000),
        (WEBP, b"RIFF\xff\xff\xff\0WEBP" + b"EXIF\0\0\0\0" * 1_200_000),
        (MP3, b"ID3\x03\0\0\0\0\0\0" * 1_000_000),
    ],
    ids=["gif", "png", "jpeg", "jpeg-scan", "mp4", "mp4-nested", "webp", "mp3"],
)
def test_ten_megabytes_of_small_parts_end_soon(kind: Kind, content: bytes) -> None:
    started = time.process_time()
    with contextlib.suppress(MalformedFileError):
        remove(kind, content)
    assert time.process_time() - started < 3
