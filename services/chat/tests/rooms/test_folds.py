"""Folds: in pieces as at once, whatever the kinds of events."""

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ashchat_chat.rooms.events import AnyEvent, Opaque, parse
from ashchat_chat.rooms.folds import OutOfOrderError, fold_messages, fold_room
from ashchat_chat.rooms.identifiers import message_id, message_place
from ashchat_chat.rooms.views import MessageView, RoomView
from chat_logs import AT, founded, logs


@given(logs(), st.data())
def test_folding_in_pieces_is_folding_at_once(log: list[AnyEvent], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(log)))
    room = fold_room(RoomView(room="r"), log[:cut])
    assert fold_room(room, log[cut:]) == fold_room(RoomView(room="r"), log)
    assert fold_messages(fold_messages([], log[:cut]), log[cut:]) == fold_messages([], log)


@given(logs())
def test_messages_are_numbered_without_a_gap(log: list[AnyEvent]) -> None:
    messages = fold_messages([], log)
    assert [message.n for message in messages] == list(range(1, len(messages) + 1))
    assert fold_room(RoomView(room="r"), log).n == len(messages)


@given(logs())
def test_a_user_who_joins_again_starts_at_the_new_join(log: list[AnyEvent]) -> None:
    view = RoomView(room="r")
    for event in log:
        before, view = view, fold_room(view, [event])
        for user in view.members.keys() - before.members.keys():
            assert view.members[user].joined_rev == event.rev
            assert view.members[user].joined_n == before.n


@given(logs())
def test_what_another_pod_hears_is_what_was_written(log: list[AnyEvent]) -> None:
    for event in log:
        assert parse(json.loads(event.model_dump_json(exclude_none=True))) == event
        assert parse({**event.model_dump(exclude_none=True), "_id": 1}) == event


def test_what_a_newer_version_wrote_keeps_its_place() -> None:
    for document in (
        {"room": "r", "rev": 1, "at": AT, "kind": "poll", "options": []},
        {"room": "r", "rev": 1, "at": AT, "kind": "message", "text_parts": []},
        {"room": "r", "rev": 1, "at": AT},
    ):
        event = parse(document)
        assert isinstance(event, Opaque)
        assert not event.visible_to("en")
        assert fold_room(RoomView(room="r"), [event]).rev == 1
        assert fold_messages([], [event]) == []


def test_a_hole_is_a_defect_and_is_reported() -> None:
    with pytest.raises(OutOfOrderError):
        fold_room(RoomView(room="r"), [founded().model_copy(update={"rev": 2})])


def test_a_message_id_contains_its_place() -> None:
    assert message_place(message_id("room.1", 7)) == ("room.1", 7)
    for wrong in ("", "7", ".7", "room.", "room.x", "room.²"):
        assert message_place(wrong) is None


def test_times_are_kept_to_the_millisecond() -> None:
    event = founded()
    assert event.at.microsecond == 678_000
    assert event.payload()["at"] == "2026-01-02T03:04:05.678Z"


def test_no_error_contains_a_message_text() -> None:
    words = "something private"
    wrong = {"room": "r", "rev": 0, "at": AT, "kind": "message", "text": words, "client_id": 1}
    with pytest.raises(ValidationError) as error:
        parse(wrong)
    assert words not in "".join(traceback.format_exception(error.value))
    with pytest.raises(ValidationError) as error:
        MessageView.model_validate(wrong)
    assert words not in str(error.value)
