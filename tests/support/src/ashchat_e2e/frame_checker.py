"""Check every frame of a socket against the schemas of chat's AsyncAPI document.

A frame that the document does not describe, or that has a field too many, is a violation. So is a
reply "ok" to a request that the document does not allow.
"""

import json
from typing import Any, Final, NamedTuple

import jsonschema_rs

from ashchat_chat.wire import asyncapi, phoenix
from ashchat_chat.wire.catalogue import PUSHES, REQUESTS, Request, Topic

SHOWN_CHARS: Final = 600
"""How much of a frame is shown."""


class _Asked(NamedTuple):
    """A request that is not answered yet."""

    request: Request
    frame: list[Any]


class FrameChecker:
    """What one socket has sent and received; `violations` lists what should not have been."""

    def __init__(self, violations: list[str]) -> None:
        """Start with an open socket.

        Args:
            violations: Where to add what is found.
        """
        self._violations = violations
        self._asked: dict[tuple[str, Any], list[_Asked]] = {}
        self._joined: dict[str, int] = {}
        """Joined topics, and the protocol of each."""

    def sent(self, text: str) -> None:
        """Note what the client sends; a text that is not a frame is not answered."""
        frame = _parsed(text)
        if frame is not None:
            _, reference, topic, event, payload = frame
            asked = _Asked(_request_of(topic, event, payload), frame)
            self._asked.setdefault((topic, _key(reference)), []).append(asked)

    def sent_binary(self, data: bytes) -> None:
        """Note a binary push; it is answered without being read."""
        try:
            frame = phoenix.decode_binary(data)
        except phoenix.MalformedFrameError:
            return
        self.sent(json.dumps(frame))

    def received(self, text: str) -> None:
        """Check what the server sends."""
        frame = _parsed(text)
        if frame is None:
            self._violations.append(f"not a frame: {text[:SHOWN_CHARS]}")
            return
        problem = self._reply(frame) if frame[3] == phoenix.REPLY else self._push(frame)
        if problem:
            self._violations.append(f"{frame[3]} on {frame[2]}: {problem}: {text[:SHOWN_CHARS]}")

    def _reply(self, frame: list[Any]) -> str:
        _, reference, topic, _, payload = frame
        waiting = self._asked.get((topic, _key(reference)), [])
        if not waiting:
            return "nothing was asked with this reference"
        problem = ""
        for asked in waiting:
            problem = _problem_of_reply(asked, frame)
            if not problem:
                waiting.remove(asked)
                self._note(asked, payload["status"])
                return ""
        return problem

    def _note(self, asked: _Asked, status: str) -> None:
        topic = asked.frame[2]
        if asked.request.event == phoenix.LEAVE:
            self._joined.pop(topic, None)
        elif asked.request.event == phoenix.JOIN and status == "ok":
            self._joined[topic] = _protocol(asked.frame[4])

    def _push(self, frame: list[Any]) -> str:
        protocol = self._joined.get(frame[2])
        if protocol is None:
            return "the topic is not joined"
        problem = problem_of_push(frame, protocol)
        if frame[3] in {phoenix.CLOSE, phoenix.ERROR}:
            del self._joined[frame[2]]
        return problem


def problem_of_push(frame: list[Any], protocol: int) -> str:
    """Return what is wrong with what the server pushes by itself; empty: nothing."""
    _, _, topic, event, _ = frame
    kind = Topic.of(topic)
    rows = [row for row in PUSHES if (row.topic, row.event) == (kind, event)]
    if not rows:
        return "no such event"
    row = next((row for row in rows if protocol in row.protocols), None)
    if row is None:
        return f"not an event of protocol {protocol}"
    return _problem(asyncapi.name_of(row), frame)


def _parsed(text: str) -> list[Any] | None:
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match frame:
        case [_, _, str(), str(), _] as parts:
            return list(parts)
        case _:
            return None


def _key(reference: Any) -> str:
    return json.dumps(reference)


def _protocol(payload: Any) -> int:
    protocol = payload.get("protocol", 1) if isinstance(payload, dict) else 1
    return 1 if protocol == 1 else 2


def _request_of(topic: str, event: str, payload: Any) -> Request:
    """Return the row of what a client sends."""
    kind, protocol = Topic.of(topic), _protocol(payload)
    rows = [row for row in REQUESTS if row.topic is kind and protocol in row.protocols]
    named = [row for row in rows if row.event == event]
    return (named or [row for row in rows if row.event is None])[0]


def _problem_of_reply(asked: _Asked, frame: list[Any]) -> str:
    """Return what is wrong with the answer to a request; empty: nothing."""
    match frame[4]:
        case {"status": "ok" | "error" as status}:
            pass
        case _:
            return "a reply has the status ok or error"
    name = asyncapi.name_of(asked.request)
    if status == "error":
        return _problem(f"{name}.error", frame)
    if asked.request.reply is None:
        return f"{asked.frame[3]} has no reply"
    return _problem(f"{name}.ok", frame) or _problem(name, asked.frame)


def _problem(message: str, frame: list[Any]) -> str:
    """Return what is wrong with a frame; empty: nothing."""
    error = next(_VALIDATORS[message].iter_errors(frame), None)
    return "" if error is None else f"not a {message}: {error.message} in {error.instance_path}"


def _validators() -> dict[str, jsonschema_rs.Draft7Validator]:
    components = asyncapi.document()["components"]
    document = [(_SOCKET, {"components": components})]
    registry = jsonschema_rs.Registry(document, draft=jsonschema_rs.Draft7)
    return {
        name: jsonschema_rs.Draft7Validator(
            {"$ref": f"{_SOCKET}#/components/messages/{name}/payload"}, registry=registry
        )
        for name in components["messages"]
    }


_SOCKET: Final = "urn:ashchat:socket"
_VALIDATORS: Final = _validators()
"""By message. Made at once, so that the first frame of a test takes no longer than others."""
