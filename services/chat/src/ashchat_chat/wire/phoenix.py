"""Frames of Phoenix Channels, serializer version 2.

A frame is the JSON array `[join_ref, ref, topic, event, payload]`
(https://hexdocs.pm/phoenix/writing_a_channels_client.html, "Message format"). What a
server pushes to everybody on a topic has neither reference, so one text serves all
sockets; the official client takes a message without join_ref as one of its present join.

Clients of other languages count their references as integers; they are repeated as they came.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ashchat_chat.rooms.ports import Push
from ashchat_chat.wire.text_frames import text_frame

Payload = dict[str, Any]
Reference = str | int | None

JOIN = "phx_join"
LEAVE = "phx_leave"
REPLY = "phx_reply"
CLOSE = "phx_close"
ERROR = "phx_error"
HEARTBEAT = "heartbeat"
PHOENIX_TOPIC = "phoenix"

TOPIC_MAX_CHARS = 256
REF_MAX_CHARS = 64
REF_MAX: Final = 2**53
"""The largest integer that every JSON reader reads exactly (RFC 8259, section 6)."""

_BINARY_PUSH: Final = 0
_BINARY_HEAD_BYTES: Final = 5

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""In a string of Python, where a pair is one character."""


class MalformedFrameError(ValueError):
    """A text is not a frame of version 2."""


class Frame(NamedTuple):
    """One frame from a client."""

    join_ref: Reference
    ref: Reference
    topic: str
    event: str
    payload: Payload | None
    """None: it is not an object."""


def decode(text: str) -> Frame:
    """Return the frame in a text.

    Raises:
        MalformedFrameError: it is not a valid frame.
    """
    try:
        parts = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise MalformedFrameError("a frame is JSON") from None
    match parts:
        case [join_ref, ref, str(topic), str(event), payload]:
            if max(len(topic), len(event)) > TOPIC_MAX_CHARS:
                raise MalformedFrameError("a topic or an event's name is too long")
            if not _is_reference(join_ref) or not _is_reference(ref):
                raise MalformedFrameError("a reference is a short string, an integer or null")
            if _LONE_SURROGATE.search(f"{join_ref}{ref}{topic}{event}"):
                # The answer repeats them, and could not be encoded.
                raise MalformedFrameError("a topic, an event or a reference has a lone surrogate")
            return Frame(
                join_ref, ref, topic, event, payload if isinstance(payload, dict) else None
            )
        case _:
            raise MalformedFrameError("a frame is [join_ref, ref, topic, event, payload]")


def decode_binary(data: bytes) -> Frame:
    """Return the frame of a binary push, without its payload (Phoenix.Socket.V2.JSONSerializer).

    Raises:
        MalformedFrameError: it is not a valid frame.
    """
    if len(data) < _BINARY_HEAD_BYTES or data[0] != _BINARY_PUSH:
        raise MalformedFrameError("binary frames are not supported")
    fields: list[str] = []
    start = _BINARY_HEAD_BYTES
    for length in data[1:_BINARY_HEAD_BYTES]:
        try:
            fields.append(data[start : start + length].decode())
        except UnicodeDecodeError:
            raise MalformedFrameError("binary frames are not supported") from None
        start += length
    join_ref, ref, topic, event = fields
    return Frame(join_ref or None, ref or None, topic, event, None)


def _is_reference(value: object) -> bool:
    match value:
        case None:
            return True
        case str():
            return len(value) <= REF_MAX_CHARS
        case bool():
            return False
        case int():
            return abs(value) <= REF_MAX
        case _:
            return False


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def encode(
    join_ref: Reference, ref: Reference, topic: str, event: str, payload: Mapping[str, Any]
) -> bytes:
    """Return a frame as it is written to a socket."""
    text = json.dumps(
        [join_ref, ref, topic, event, payload], ensure_ascii=False, separators=(",", ":")
    )
    return text_frame(text.encode())


def frame_of(push: Push) -> bytes:
    """Return a frame for every socket on a topic; encoded once."""
    if push.encoded is None:
        push.encoded = encode(None, None, push.topic, push.event, push.payload)
    return push.encoded


def reply(
    frame: Frame, status: str, response: Mapping[str, Any], *, join_ref: Reference = None
) -> bytes:
    """Return the answer to a frame; status is "ok" or "error".

    Args:
        frame: The frame that is answered.
        status: Whether it was done.
        response: What to answer.
        join_ref: The join's, for a frame without one.
    """
    joined = join_ref if frame.join_ref is None else frame.join_ref
    return encode(joined, frame.ref, frame.topic, REPLY, {"status": status, "response": response})
