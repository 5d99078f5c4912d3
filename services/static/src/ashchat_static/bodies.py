"""Extracts the file from a request's body as it arrives (multipart/form-data or raw)."""

from collections.abc import AsyncIterator
from email.message import Message
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ashchat_static.service import UploadRejectedError

FORM_FIELDS_MAX_BYTES: Final = 64 * 1024
"""Maximum size of a form besides the file, including headers."""


async def file_in(content_type: str | None, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the file's bytes: a form's first file, or the whole body.

    The client's file name and type are ignored.

    Raises:
        UploadRejectedError: the form is malformed (400).
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        async for chunk in body:
            if chunk:
                yield chunk
        return
    boundary = options.get(b"boundary")
    if not boundary:
        raise UploadRejectedError(400, "malformed_form", "The form has no boundary.")
    form = _Form(boundary)
    async for chunk in body:
        for piece in form.feed(chunk):
            yield piece
    form.end()


class _Form:
    """Finds the first part that is a file (in the original's clients, the first part)."""

    def __init__(self, boundary: bytes) -> None:
        self._pieces: list[bytes] = []
        self._beside = 0
        self._header = [b"", b""]
        self._headers = Message()
        self._inside = self._found = self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> list[bytes]:
        self._pieces = []
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise UploadRejectedError(400, "malformed_form", "The form is malformed.") from None
        if self._beside > FORM_FIELDS_MAX_BYTES:
            raise UploadRejectedError(413, "too_large", "The form is too large besides the file.")
        return self._pieces

    def end(self) -> None:
        if not self._complete:
            raise UploadRejectedError(400, "malformed_form", "The form is incomplete.")

    def _part_begin(self) -> None:
        self._headers = Message()

    def _add(self, which: int, data: bytes) -> None:
        self._header[which] += data
        self._beside += len(data)

    def _header_end(self) -> None:
        name, value = (part.decode("latin-1") for part in self._header)
        self._headers[name] = value
        self._header = [b"", b""]

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition"))
        self._inside = b"filename" in options and not self._found
        self._found = self._found or self._inside

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._pieces.append(data[start:end])
        else:
            self._beside += end - start

    def _part_end(self) -> None:
        self._inside = False

    def _end(self) -> None:
        self._complete = True
