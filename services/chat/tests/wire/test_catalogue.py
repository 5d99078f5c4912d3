"""The tables of the socket's events: whole, as the code has them, and as protocol.md says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given

from ashchat_chat.rooms.events import KINDS, AnyEvent
from ashchat_chat.rooms.ports import Push
from ashchat_chat.wire import asyncapi, catalogue, phoenix
from ashchat_chat.wire.catalogue import LOG_PAYLOADS, PUSHES, REQUESTS, Topic
from ashchat_chat.wire.reasons import FrameReason
from ashchat_chat.wire.requests import ChatEvent
from ashchat_dev.pages import tables
from ashchat_e2e.frame_checker import FrameChecker, problem_of_push
from chat_logs import logs

PAGE: Final = (Path(__file__).parents[4] / "docs/reference/protocol.md").read_text(encoding="utf-8")
CLIENT, SERVER = "client → server", "server → client"
EVERYWHERE: Final = {
    *(phoenix.JOIN, phoenix.LEAVE, phoenix.CLOSE, phoenix.ERROR, phoenix.HEARTBEAT, None)
}
"""What every topic has, and what has no table."""


class Documented(NamedTuple):
    """A row of the page."""

    topic: Topic
    direction: str
    event: str
    payload: str
    reply: str


def section(heading: str) -> str:
    """Return the text below a heading, up to the next of the same or a higher level."""
    start = PAGE.index(f"\n{heading}\n") + len(heading) + 2
    level = heading.partition(" ")[0]
    end = re.search(rf"^#{{2,{len(level)}}} ", PAGE[start:], re.MULTILINE)
    return PAGE[start:][: end.start() if end else None]


def _documented() -> Iterator[Documented]:
    """Yield the events in the tables and the examples of the page."""
    both, one, two = (
        section(f"### `chat:<chat_id>`, {which}")
        for which in ("both protocols", "protocol 1", "protocol 2")
    )
    for direction, event, payload, reply in tables(both):
        yield Documented(Topic.CHAT, direction, event.strip("`"), payload, reply)
    for event, payload, _ in tables(one):
        yield Documented(Topic.CHAT, SERVER, event.strip("`"), payload, "")
    for block in re.findall(r"```json\n(\[.*\])\n```", two):
        frame = json.loads(block)
        payload = f"`{{{', '.join(frame[4])}}}`"
        yield Documented(Topic.CHAT, SERVER, frame[3], payload if frame[3] != "event" else "", "")
    for event, payload, _ in tables(section("### `notifications:<user_id>`")):
        yield Documented(Topic.NOTIFICATIONS, SERVER, event.strip("`"), payload, "")
    for direction, event, payload, reply in tables(section("### `presence:lobby`")):
        yield Documented(Topic.LOBBY, direction, event.strip("`"), payload, reply)


DOCUMENTED: Final = tuple(_documented())


def names(text: str) -> set[str]:
    """Return the names in backticks, apart from those in parentheses."""
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^()]*\)", "", text)))


def fields(payload: str) -> set[str]:
    """Return the names of the fields in braces."""
    (inner,) = re.findall(r"`\{(.*?)\}`", payload)[:1]
    return {part.partition(":")[0].strip(' ?"') for part in inner.split(",")}


def test_the_page_has_every_event_and_no_other() -> None:
    found = {(row.topic, row.direction, row.event) for row in DOCUMENTED}
    expected = {
        *((row.topic, CLIENT, row.event) for row in REQUESTS if row.event not in EVERYWHERE),
        *((row.topic, SERVER, row.event) for row in PUSHES if row.event not in EVERYWHERE),
    }
    assert found == expected


@pytest.mark.parametrize(
    "row",
    [row for row in REQUESTS if row.event not in EVERYWHERE],
    ids=lambda row: row.event,
)
def test_the_page_has_the_fields_and_the_reasons_of_a_request(row: catalogue.Request) -> None:
    (found,) = [
        one
        for one in DOCUMENTED
        if (one.topic, one.direction, one.event) == (row.topic, CLIENT, row.event)
    ]
    common = catalogue.CHAT if row.topic is Topic.CHAT else catalogue.EVENT
    if row.event != ChatEvent.ACK:  # its two fields are in two pairs of braces
        assert fields(found.payload) == set(row.payload.__annotations__)
    assert names(found.reply) == {str(reason) for reason in row.reasons - common}


@pytest.mark.parametrize(
    ("topic", "event"),
    sorted(
        {(row.topic, row.event) for row in PUSHES if row.event not in EVERYWHERE}
        - {(Topic.CHAT, "event"), (Topic.LOBBY, "presence_state")}
    ),
)
def test_the_page_has_the_fields_of_what_is_pushed(topic: Topic, event: str) -> None:
    rows = [row for row in PUSHES if (row.topic, row.event) == (topic, event)]
    expected = {name for row in rows for one in row.payloads for name in one.__annotations__}
    found = [one for one in DOCUMENTED if one[:3] == (topic, SERVER, event)]
    assert found
    for one in found:
        if one.payload != "the same":
            assert fields(one.payload) | names(one.payload) == expected


def test_the_page_has_the_fields_of_every_kind() -> None:
    found = {
        kind.strip("`"): names(text)
        for kind, text, _ in tables(section("### `chat:<chat_id>`, protocol 2"))
    }
    expected = {
        kind.model_fields["kind"].default: set(payload.__annotations__) - {"rev", "kind", "at"}
        for kind, payload in zip(KINDS, LOG_PAYLOADS, strict=True)
    }
    assert found == expected


def test_the_page_has_the_reasons_of_all_joins_and_events() -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith("Reasons of every join")]
    common = catalogue.JOIN | catalogue.EVENT | {FrameReason.RATE_LIMITED}
    assert names(line) - {"phx_leave", "heartbeat"} == {str(reason) for reason in common}


def test_the_page_has_every_reason() -> None:
    for row in REQUESTS:
        for reason in row.reasons:
            assert f"`{reason}`" in PAGE, reason


def test_every_event_of_a_chat_has_a_row_and_every_reason_a_use() -> None:
    rows = {row.event for row in REQUESTS if row.topic is Topic.CHAT}
    assert rows - EVERYWHERE == set(ChatEvent)
    assert {reason for row in REQUESTS for reason in row.reasons} >= set(FrameReason)


@given(logs())
def test_every_event_of_a_log_is_as_described(log: list[AnyEvent]) -> None:
    for event in log:
        for one in (event, event.erased_for("ana", {2, 3}), event.purged()):
            if one is not None:
                frame = [None, None, "chat:r", "event", one.payload()]
                assert not problem_of_push(json.loads(json.dumps(frame)), 2)


# The checker itself

JOIN = ["1", "1", "chat:r", "phx_join", {"protocol": 2}]
JOINED = {"protocol": 2, "pod": "p", "rev": 1, "reset": False, "n": 0, "read_n": 0}
DIFF: dict[str, Any] = {"joins": {}, "leaves": {}}


def reply(status: str, response: object, topic: str = "chat:r") -> list[Any]:
    return ["1", "1", topic, "phx_reply", {"status": status, "response": response}]


def checked(*frames: list[Any], protocol: int = 2) -> list[str]:
    """Return the violations after a join and these frames of the server."""
    violations: list[str] = []
    checker = FrameChecker(violations)
    checker.sent(json.dumps([*JOIN[:4], {"protocol": protocol}]))
    checker.received(json.dumps(reply("ok", JOINED if protocol == 2 else {})))
    assert not violations
    for frame in frames:
        checker.received(json.dumps(frame))
    return violations


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ([None, None, "chat:r", "novelty", {}], "no such event"),
        ([None, None, "chat:r", "receiver_online", {"status": "online"}], "chat.receiver_online"),
        ([None, None, "chat:r", "typing", {"user_id": "u", "is_typing": True, "x": 1}], "'x'"),
        ([None, None, "chat:r", "typing", {"user_id": "u"}], "is_typing"),
        (["1", None, "chat:r", "typing", {"user_id": "u", "is_typing": True}], "null"),
        ([None, None, "chat:r", "event", {"rev": 1, "kind": "novelty"}], "chat.event.protocol2"),
        ([None, None, "chat:r", "message_sent", {}], "not an event of protocol 2"),
        ([None, None, "presence:lobby", "presence_diff", DIFF], "not joined"),
        (reply("ok", {}), "nothing was asked"),
        ({"rev": 1}, "not a frame"),
    ],
)
def test_a_frame_that_is_not_described_is_a_violation(frame: list[Any], problem: str) -> None:
    (violation,) = checked(frame)
    assert problem in violation


@pytest.mark.parametrize(
    ("event", "payload", "status", "response", "problem"),
    [
        ("ack", {"n": 1}, "ok", {"n": 1, "delivered": 1}, ""),
        ("ack", {"n": 1}, "ok", {"n": 1}, "delivered"),
        ("ack", {"n": "1"}, "ok", {"n": 1, "delivered": 1}, "not a chat.ack.request"),
        ("ack", {"n": 1}, "error", {"reason": "invalid_n"}, ""),
        ("ack", {"n": 1}, "error", {"reason": "too_many_edits", "limit": 50}, "chat.ack"),
        ("ack", {"n": 1}, "error", {"reason": "rate_limited"}, "chat.ack"),
        ("ack", {"n": 1}, "done", {}, "status"),
        ("typing", {"is_typing": True}, "ok", {}, "typing has no reply"),
        ("novelty", {}, "ok", {}, "novelty has no reply"),
        ("novelty", {}, "error", {"reason": "unknown_event"}, ""),
    ],
)
def test_a_reply_that_is_not_described_is_a_violation(
    event: str, payload: object, status: str, response: object, problem: str
) -> None:
    violations: list[str] = []
    checker = FrameChecker(violations)
    checker.sent(json.dumps(["1", "1", "chat:r", event, payload]))
    checker.received(json.dumps(reply(status, response)))
    assert bool(violations) is bool(problem)
    assert problem in "".join(violations)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '["1",' + '{"a":' * 5_000, '[1,1,"t","e"]'])
def test_a_text_that_is_not_a_frame_is_not_answered(text: str) -> None:
    violations: list[str] = []
    FrameChecker(violations).sent(text)
    assert not violations
    FrameChecker(violations).received(text)
    assert violations


def test_what_a_topic_is_sent_after_its_end_is_a_violation() -> None:
    typing = [None, None, "chat:r", "typing", {"user_id": "u", "is_typing": True}]
    assert not checked(typing, ["1", "1", "chat:r", "phx_close", {}])
    (violation,) = checked(["1", "1", "chat:r", "phx_close", {}], typing)
    assert "not joined" in violation


def test_a_kind_of_topic_is_known_by_its_name() -> None:
    others = {"chat:": Topic.OTHER, "notifications": Topic.NOTIFICATIONS}
    for name, kind in {**{re.sub(r"{\w+}", "x", one): one for one in Topic}, **others}.items():
        assert Topic.of(name) is kind
        assert re.search(asyncapi.PATTERNS[kind].get("pattern", ""), name)


def test_a_push_of_the_service_is_a_frame_of_the_document() -> None:
    push = Push("chat:r", "receiver_online", {"status": "online"})
    frame = json.loads(phoenix.frame_of(push)[2:])
    assert not problem_of_push(frame, 1)
