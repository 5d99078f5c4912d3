"""The socket as an AsyncAPI document: every frame, from the tables in `catalogue`.

A channel is a topic, and a message is a whole frame, as `wire.phoenix` encodes it.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from ashchat_chat.pushes import Nothing
from ashchat_chat.rooms.ports import PROTOCOLS
from ashchat_chat.wire import phoenix
from ashchat_chat.wire.catalogue import PUSHES, REQUESTS, ROWS, Pushed, Request, Topic
from ashchat_chat.wire.phoenix import REF_MAX, REF_MAX_CHARS
from ashchat_chat.wire.reasons import DETAILS, AnyReason
from ashchat_core import asyncapi
from ashchat_core.asyncapi import Schema, reference

PATTERNS: Final[Mapping[Topic, Schema]] = {
    Topic.CHAT: {"type": "string", "pattern": "^chat:.+$"},
    Topic.NOTIFICATIONS: {"type": "string", "pattern": "^notifications(:|$)"},
    Topic.LOBBY: {"const": Topic.LOBBY.value},
    Topic.PHOENIX: {"const": Topic.PHOENIX.value},
    Topic.OTHER: {"type": "string"},
}

PARAMETERS: Final[Mapping[Topic, Mapping[str, Schema]]] = {
    Topic.CHAT: {"chat_id": {"description": "The chat's id."}},
    Topic.NOTIFICATIONS: {"user_id": {"description": "The id of the user of the socket."}},
    Topic.OTHER: {"topic": {"description": "Any other topic: no one may join it."}},
}

_REFERENCE: Final[Schema] = {
    "description": "The client's own reference, repeated as it came.",
    "anyOf": [
        {"type": "string", "maxLength": REF_MAX_CHARS},
        {"type": "integer", "minimum": -REF_MAX, "maximum": REF_MAX},
        {"type": "null"},
    ],
}

_QUERY: Final[Schema] = {
    "type": "object",
    "properties": {
        name: {"type": "string", "description": text}
        for name, text in (
            ("ticket", "A ticket of auth, which opens one socket."),
            ("token", "An access token of auth."),
            ("device_unique_id", "The device token that the access token was issued for."),
            ("preferred_language", "A BCP 47 tag; default: the profile's."),
            ("invisible", "true: presence does not show this socket."),
        )
    }
    | {"vsn": {"const": "2.0.0"}},
}

_DESCRIPTION: Final = """\
The WebSocket of the chat service. Its frames are those of Phoenix Channels, serializer 2:
`[join_ref, ref, topic, event, payload]`. What the messages mean, and which guarantees hold, is
described in docs/reference/protocol.md. Operations are those of the service: it receives what
clients send, and sends what they receive."""


def name_of(row: Request | Pushed) -> str:
    """Return the name of a row's message; a request's replies are this with .ok and .error."""
    end = "" if row.protocols == PROTOCOLS else f".protocol{row.protocols[0]}"
    if isinstance(row, Pushed):
        return f"{row.topic.name.lower()}.{row.event}{end}"
    return f"{row.topic.name.lower()}.{row.event or 'any_other'}{end}.request"


@cache
def document() -> Schema:
    """Return the document."""
    return asyncapi.document(
        title="AshChat socket",
        description=_DESCRIPTION,
        servers={
            "chat": {
                "host": "{host}",
                "protocol": "wss",
                "pathname": "/chat/socket/websocket",
                "variables": {"host": {"description": "The host of publicUrl."}},
            }
        },
        channels={topic.name.lower(): _channel(topic) for topic in Topic},
        operations={
            name_of(row): _pushing(row) if isinstance(row, Pushed) else _answering(row)
            for row in ROWS
        },
        components={
            "schemas": {
                **asyncapi.schemas(_payloads()),
                **{f"refusal.{reason}": _refusal(reason) for reason in sorted(_reasons())},
                "reference": _REFERENCE,
            },
            "messages": dict(_messages()),
            "channelBindings": {"socket": {"ws": {"method": "GET", "query": _QUERY}}},
        },
    )


def _payloads() -> list[Any]:
    found = {Nothing.__name__: Nothing}
    for request in REQUESTS:
        found |= {one.__name__: one for one in (request.payload, request.reply) if one is not None}
    for push in PUSHES:
        found |= {one.__name__: one for one in push.payloads}
    return list(found.values())


def _reasons() -> frozenset[AnyReason]:
    return frozenset(reason for request in REQUESTS for reason in request.reasons)


def _refusal(reason: AnyReason) -> Schema:
    details = {
        name: TypeAdapter(kind).json_schema() for name, kind in DETAILS.get(reason, {}).items()
    }
    return {
        "type": "object",
        "properties": {"reason": {"const": reason.value}, **details},
        "required": ["reason", *details],
        "additionalProperties": False,
    }


# Frames


def _frame(topic: Topic, event: Schema, payload: Schema, references: Schema) -> Schema:
    return {
        "type": "array",
        "items": [references, references, PATTERNS[topic], event, payload],
        "minItems": 5,
        "additionalItems": False,
    }


def _reply(topic: Topic, status: str, responses: Iterable[Schema]) -> Schema:
    payload = {
        "type": "object",
        "properties": {"status": {"const": status}, "response": _one_of(responses)},
        "required": ["status", "response"],
        "additionalProperties": False,
    }
    answers = reference("schemas", "reference")
    return _frame(topic, {"const": phoenix.REPLY}, payload, answers)


def _one_of(schemas: Iterable[Schema]) -> Schema:
    found = list(schemas)
    return found[0] if len(found) == 1 else {"oneOf": found}


def _messages() -> Iterable[tuple[str, Schema]]:
    answers = reference("schemas", "reference")
    for request in REQUESTS:
        name, topic = name_of(request), request.topic
        event: Schema = {"type": "string"} if request.event is None else {"const": request.event}
        payload = reference("schemas", request.payload.__name__)
        yield name, _message(request, _frame(topic, event, payload, answers))
        if request.reply is not None:
            reply = reference("schemas", request.reply.__name__)
            yield f"{name}.ok", _message(request, _reply(topic, "ok", [reply]))
        refusals = [reference("schemas", f"refusal.{one}") for one in sorted(request.reasons)]
        yield f"{name}.error", _message(request, _reply(topic, "error", refusals))
    for push in PUSHES:
        payload = _one_of(reference("schemas", one.__name__) for one in push.payloads)
        references = answers if push.of_join else {"type": "null"}
        frame = _frame(push.topic, {"const": push.event}, payload, references)
        yield name_of(push), _message(push, frame)


def _message(row: Request | Pushed, frame: Schema) -> Schema:
    tags = [{"name": f"protocol {number}"} for number in row.protocols]
    return {"name": row.event or "any other event", "tags": tags, "payload": frame}


# Channels and operations


def _channel(topic: Topic) -> Schema:
    rows = [row for row in ROWS if row.topic is topic]
    channel: Schema = {
        "address": topic.value,
        "messages": {name: reference("messages", name) for row in rows for name in _names(row)},
        "bindings": reference("channelBindings", "socket"),
    }
    if topic in PARAMETERS:
        channel["parameters"] = dict(PARAMETERS[topic])
    return channel


def _names(row: Request | Pushed) -> list[str]:
    name = name_of(row)
    return [name] if isinstance(row, Pushed) else [name, *_replies(row)]


def _replies(row: Request) -> list[str]:
    statuses = ("error",) if row.reply is None else ("ok", "error")
    return [f"{name_of(row)}.{status}" for status in statuses]


def _operation(action: str, row: Request | Pushed) -> Schema:
    return {
        "action": action,
        "channel": _to_channel(row),
        "messages": [_in_channel(row, name_of(row))],
    }


def _to_channel(row: Request | Pushed) -> Schema:
    return {"$ref": f"#/channels/{row.topic.name.lower()}"}


def _in_channel(row: Request | Pushed, name: str) -> Schema:
    return {"$ref": f"#/channels/{row.topic.name.lower()}/messages/{name}"}


def _pushing(row: Pushed) -> Schema:
    return _operation("send", row)


def _answering(row: Request) -> Schema:
    replies = [_in_channel(row, name) for name in _replies(row)]
    return {
        **_operation("receive", row),
        "reply": {"channel": _to_channel(row), "messages": replies},
    }
