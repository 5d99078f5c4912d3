"""The one kind of WebSocket frame that carries what is pushed (RFC 6455, section 5.2)."""

from typing import Final

_ONE_BYTE_LENGTH: Final = 126
_TWO_BYTE_LENGTH: Final = 1 << 16
_FINAL_TEXT: Final = 0x81


def text_frame(text: bytes) -> bytes:
    """Return a server's text frame: not masked, so that the same bytes serve every socket."""
    length = len(text)
    if length < _ONE_BYTE_LENGTH:
        return bytes((_FINAL_TEXT, length)) + text
    if length < _TWO_BYTE_LENGTH:
        return bytes((_FINAL_TEXT, 126)) + length.to_bytes(2, "big") + text
    return bytes((_FINAL_TEXT, 127)) + length.to_bytes(8, "big") + text
