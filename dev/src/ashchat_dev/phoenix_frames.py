"""Frames and errors of the Phoenix protocol."""

import json
from typing import Any, NamedTuple

Payload = dict[str, Any]
Reference = str | int | None
"""A client's own name of a join or a request; Phoenix's client counts in strings."""


class SocketRefusedError(ConnectionError):
    """The server refused the connection; `status` is its HTTP status, 0 if there was none."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SocketLostError(ConnectionError):
    """The connection ended while an answer was awaited."""


class JoinRefusedError(RuntimeError):
    """The server refused a join; `response` contains the reason."""

    def __init__(self, topic: str, response: Payload) -> None:
        super().__init__(f"join of {topic} refused: {response}")
        self.topic = topic
        self.response = response

    @property
    def reason(self) -> str:
        """The machine-readable reason; empty if there is none."""
        return str(self.response.get("reason", ""))


class Frame(NamedTuple):
    """One frame of the wire."""

    join_ref: Reference
    ref: Reference
    topic: str
    event: str
    payload: Payload


class Reply(NamedTuple):
    """A server's answer to a push: `status` "ok" or "error", and its payload."""

    status: str
    response: Payload
    seconds: float


class Event(NamedTuple):
    """Something the server pushed; `at` is time.monotonic() of its arrival."""

    name: str
    payload: Payload
    at: float


class Closed(NamedTuple):
    """How a connection ended: WebSocket close code (1006: without a close frame), reason."""

    code: int
    reason: str


def encode(frame: Frame) -> str:
    """Return a frame as sent on the wire; a lone surrogate is escaped, as browsers do."""
    text = json.dumps(list(frame), ensure_ascii=False, separators=(",", ":"))
    if any("\ud800" <= character <= "\udfff" for character in text):
        return json.dumps(list(frame), separators=(",", ":"))
    return text


def decode(text: str) -> Frame:
    """Return the frame in a text.

    Raises:
        ValueError: It is not a frame of version 2.
    """
    parts = json.loads(text)
    match parts:
        # A server echoes references as they came, so those of other clients may be integers.
        case [
            str() | int() | None as join_ref,
            str() | int() | None as ref,
            str(topic),
            str(event),
            dict(payload),
        ] if not isinstance(join_ref, bool) and not isinstance(ref, bool):
            return Frame(join_ref, ref, topic, event, payload)
        case _:
            raise ValueError(f"not a frame of Phoenix's serializer 2: {text[:200]}")
