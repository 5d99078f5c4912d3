"""Frames of Phoenix Channels, serializer version 2.

A frame is the JSON array `[join_ref, ref, topic, event, payload]`
(https://hexdocs.pm/phoenix/writing_a_channels_client.html, "Message format"). What a
server pushes to everybody on a topic has neither reference, so one text serves all
sockets; the official client takes a message without join_ref as one of its present join.
"""

import json
import re
from typing import Any, NamedTuple

from ashchat_chat.rooms.ports import Push

Payload = dict[str, Any]

JOIN = "phx_join"
LEAVE = "phx_leave"
REPLY = "phx_reply"
CLOSE = "phx_close"
HEARTBEAT = "heartbeat"
PHOENIX_TOPIC = "phoenix"

TOPIC_MAX_CHARS = 256
REF_MAX_CHARS = 64

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""In a string of Python, where a pair is one character."""


class MalformedFrameError(ValueError):
    """A text is not a frame of version 2."""


class Frame(NamedTuple):
    """One frame from a client."""

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: Payload


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
        case [str() | None as join_ref, str() | None as ref, str(topic), str(event), dict(payload)]:
            if max(len(topic), len(event)) > TOPIC_MAX_CHARS:
                raise MalformedFrameError("a topic or an event's name is too long")
            if max(len(join_ref or ""), len(ref or "")) > REF_MAX_CHARS:
                raise MalformedFrameError("a reference is too long")
            if _LONE_SURROGATE.search(f"{join_ref}{ref}{topic}{event}"):
                # The answer repeats them, and could not be encoded.
                raise MalformedFrameError("a topic, an event or a reference has a lone surrogate")
            return Frame(join_ref, ref, topic, event, payload)
        case _:
            raise MalformedFrameError("a frame is [join_ref, ref, topic, event, payload]")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def encode(join_ref: str | None, ref: str | None, topic: str, event: str, payload: Payload) -> str:
    """Return a frame's text."""
    return json.dumps(
        [join_ref, ref, topic, event, payload], ensure_ascii=False, separators=(",", ":")
    )


def text_of(push: Push) -> str:
    """Return the text of a frame for every socket on a topic; encoded once."""
    if push.encoded is None:
        push.encoded = encode(None, None, push.topic, push.event, push.payload)
    return push.encoded


def reply(frame: Frame, status: str, response: Payload) -> str:
    """Return the text of the answer to a frame; status is "ok" or "error"."""
    return encode(
        frame.join_ref, frame.ref, frame.topic, REPLY, {"status": status, "response": response}
    )
