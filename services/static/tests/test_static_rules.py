"""Types by their first bytes, ranges, names, forms, settings: rules without a server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashchat_core.settings import env_example
from ashchat_static import ranges, service
from ashchat_static.bodies import file_in
from ashchat_static.kinds import HEAD_BYTES, sniff
from ashchat_static.ranges import Part, UnsatisfiableRangeError
from ashchat_static.settings import Settings

PAD = bytes(HEAD_BYTES)


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b"GIF89a", "gif"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "webp"),
        (b"%PDF-1.7", "pdf"),
        (b"\0\0\0\x20ftypisom", "mp4"),
        (b"\0\0\0\x20ftypM4A ", "m4a"),
        (
            b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm",
            "webm",
        ),
        (b"OggS\0", "ogg"),
        (b"ID3\x04", "mp3"),
        # Two frames: MPEG 1 of 417 bytes, MPEG 2 of 522.
        ((b"\xff\xfb\x90\x64" + bytes(413)) * 2, "mp3"),
        ((b"\xff\xf3\x90\x64" + bytes(257)) * 2, "mp3"),
        # A brand of the standard among the compatible ones, or one that phones write.
        (b"\0\0\0\x18ftypXAVC\0\0\0\0XAVCmp42", "mp4"),
        (b"\0\0\0\x14ftyp3gp5\0\0\0\0isom", "mp4"),
        (b"\0\0\0\x1cftypiso5\0\0\0\0iso5hlsf", "mp4"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8X", "webp"),
        # DocType with a long size, and padded.
        (b"\x1a\x45\xdf\xa3\xa3\x42\x82\x40\x06\0\0webm", "webm"),
    ],
)
def test_taken(head: bytes, extension: str) -> None:
    kind = sniff((head + PAD)[:HEAD_BYTES])
    assert kind is not None
    assert kind.extension == extension


@pytest.mark.parametrize(
    "head",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'>",
        b"<!doctype html><script>",
        b"\xef\xbb\xbf<?xml",
        b" \x89PNG\r\n\x1a\n",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"\0\0\0\x20ftypheic",
        b"\0\0\0\x20ftypqt  ",
        b"\0\0\0\x20ftypqt  \0\0\0\0mp42",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1mp41",
        b"\0\0\0\x18ftypXAVC\0\0\0\0XAVCXAVC",
        b"\0\0\0\x15ftypisom",
        b"\0\0\0\x08ftypisom",
        b"RIFF\x24\x00\x00\x00WEBPALPH",
        b"\xff\xfb\x90\x64",
        (b"\xff\xfb\x90\x64" + bytes(413)) + b"\xff\xff",
        (b"\xff\xfb\xf0\x64" + bytes(413)) * 2,
        b"\x1a\x45\xdf\xa3" + bytes(40) + b"\x42\x82\x84webm",
        b"\x1a\x45\xdf\xa3\x42\x82\x00webm",
        b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska",
        b"MZ\x90\0",
        b"\x7fELF",
        b"PK\x03\x04",
        b"\xff\xff\xff\xff",
        b"\xff\xfe<\0h\0t\0m\0l\0",
        b"just text",
    ],
)
def test_refused(head: bytes) -> None:
    assert sniff((head + PAD)[:HEAD_BYTES]) is None


def test_a_file_shorter_than_the_head() -> None:
    assert sniff(b"") is None
    assert sniff(b"\xff\xfb\x90\x64") is None
    assert sniff(b"GIF89a") is not None


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-", Part(0, 10)),
        ("bytes=2-4", Part(2, 3)),
        (" bytes=2-400 ", Part(2, 8)),
        ("bytes=-3", Part(7, 3)),
        ("bytes=-30", Part(0, 10)),
        ("bytes=9-9", Part(9, 1)),
        # not understood, or several: the whole
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=٣-٤", None),
    ],
)
def test_range(header: str | None, part: Part | None) -> None:
    assert ranges.parse(header, 10) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=11-12", "bytes=-0"])
def test_range_outside(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        ranges.parse(header, 10)


@given(st.integers(0, 20), st.integers(0, 30), st.integers(1, 20))
def test_a_range_lies_inside(start: int, end: int, size: int) -> None:
    try:
        part = ranges.parse(f"bytes={start}-{end}", size)
    except UnsatisfiableRangeError:
        assert start >= size
        return
    if part is not None:
        assert part.length > 0
        assert part.start + part.length <= size
        assert part.content_range(size).endswith(f"/{size}")


def test_if_none_match() -> None:
    assert ranges.matches('"a", W/"b"', '"b"')
    assert ranges.matches("*", '"b"')
    assert not ranges.matches('"a"', '"b"')
    assert not ranges.matches(None, '"b"')


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        f"{'a' * 64}.png/..",
        f"{'a' * 64}.svg",
        f"{'A' * 64}.png",
        f"{'a' * 63}.png",
        f"{'a' * 64}.png\n",
        f"{'a' * 64}.png\0",
        ".drafts",
        "",
    ],
    ids=range(10),
)
def test_no_name_of_ours(name: str) -> None:
    assert service.kind_of(name) is None


def test_a_name_of_ours() -> None:
    kind = service.kind_of(f"{'0a' * 32}.jpg")
    assert kind is not None
    assert kind.media_type == "image/jpeg"


# forms


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(content_type: str | None, body: bytes, size: int = 7) -> bytes:
    return b"".join([piece async for piece in file_in(content_type, pieces(body, size))])


FORM = (
    b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nnot this\r\n"
    b'--x\r\nContent-Disposition: form-data; name="photo"; filename="../a.png"\r\n'
    b"Content-Type: text/html\r\n\r\none\r\n--xy two\r\n"
    b'--x\r\nContent-Disposition: form-data; name="b"; filename="b"\r\n\r\nsecond\r\n--x--\r\n'
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_the_first_file_of_a_form(size: int) -> None:
    assert await read("multipart/form-data; boundary=x", FORM, size) == b"one\r\n--xy two"


async def test_the_body_itself() -> None:
    assert await read("image/png", b"a body") == b"a body"
    assert await read(None, b"") == b""


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        ("multipart/form-data", FORM, "malformed_form"),
        ("multipart/form-data; boundary=x", FORM[:-9], "malformed_form"),
        ("multipart/form-data; boundary=x", b"nothing of the kind", "malformed_form"),
        ("multipart/form-data; boundary=x", b"", "malformed_form"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + b"a" * 70_000,
            "too_large",
        ),
    ],
    ids=["boundary", "cut", "other", "empty", "besides"],
)
async def test_a_malformed_form(content_type: str, body: bytes, reason: str) -> None:
    with pytest.raises(service.UploadRejectedError) as refused:
        await read(content_type, body, 4096)
    assert refused.value.reason == reason


def test_env_example_is_what_the_settings_say() -> None:
    example = Path(__file__).parents[1] / ".env.example"
    assert example.read_text() == env_example(Settings)
