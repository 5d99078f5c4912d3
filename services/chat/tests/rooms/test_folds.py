"""State + events = refetched state: folding in pieces gives what folding at once gives."""

import json
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ashchat_chat.rooms.chats import tail_view
from ashchat_chat.rooms.events import AnyEvent, Members, Opaque, Read, Sent, Translated, parse
from ashchat_chat.rooms.folds import OutOfOrderError, fold_messages, fold_room
from ashchat_chat.rooms.identifiers import message_id, message_place
from ashchat_chat.rooms.ports import RoomRecord
from ashchat_chat.rooms.views import MessageView, RoomView

AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
PEOPLE = ("ana", "ben", "eve")
OUTCOMES = st.sampled_from(
    [
        {"outcome": "translated", "text": "x", "provider": "p"},
        {"outcome": "unchanged"},
        {"outcome": "failed", "reason": "pair_unsupported"},
    ]
)


@st.composite
def logs(draw: st.DrawFn) -> list[AnyEvent]:
    """Make a log as the service could have written it."""
    events: list[AnyEvent] = [Members(room="r", rev=1, at=AT, members=PEOPLE)]
    messages: list[int] = []
    done: set[tuple[int, str]] = set()
    for rev in range(2, draw(st.integers(2, 25))):
        kind = draw(st.sampled_from(["message", "translation", "read"]))
        at = AT + timedelta(seconds=rev)
        if kind == "translation" and messages:
            of, target = draw(st.sampled_from(messages)), draw(st.sampled_from(["en", "de"]))
            if (of, target) not in done:
                done.add((of, target))
                events.append(
                    Translated(
                        room="r", rev=rev, at=at, client_id=f"{of}.1.{target}",
                        message=message_id("r", of), message_rev=of, text_version=1,
                        target=target, **draw(OUTCOMES),
                    )
                )  # fmt: skip
                continue
        if kind == "read":
            up_to = draw(st.integers(1, rev - 1))
            user = draw(st.sampled_from(PEOPLE))
            events.append(Read(room="r", rev=rev, at=at, user=user, up_to=up_to))
            continue
        messages.append(rev)
        events.append(
            Sent(
                room="r", rev=rev, at=at, sender=draw(st.sampled_from(PEOPLE)),
                client_id=f"c{rev}", text=draw(st.text(max_size=5)), language="es",
                targets=("de", "en"),
            )
        )  # fmt: skip
    return events


@given(logs(), st.data())
def test_a_projection_and_the_tail_are_the_whole(log: list[AnyEvent], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(log)))
    # A projection may have started earlier, and may repeat some of the work.
    again = data.draw(st.integers(0, cut))
    room = fold_room(RoomView(room="r"), log[:cut])
    known = fold_messages(fold_messages([], log[:cut]), log[again:cut])
    record = RoomRecord("r", PEOPLE, room, AT)
    view, messages = tail_view(record, known, log[again:])
    assert view == fold_room(RoomView(room="r"), log)
    assert messages == fold_messages([], log)


@given(logs())
def test_read_positions_only_rise_and_messages_are_each_once(log: list[AnyEvent]) -> None:
    before: dict[str, int] = {}
    view = RoomView(room="r")
    for event in log:
        view = fold_room(view, [event])
        assert all(view.reads[user] >= rev for user, rev in before.items())
        before = view.reads
    messages = fold_messages([], log)
    assert [one.rev for one in messages] == [one.rev for one in log if isinstance(one, Sent)]


@given(logs())
def test_what_another_pod_hears_is_what_was_written(log: list[AnyEvent]) -> None:
    for event in log:
        assert parse(json.loads(event.model_dump_json(exclude_none=True))) == event
        assert parse({**event.model_dump(exclude_none=True), "_id": 1}) == event


def test_what_a_newer_version_wrote_keeps_its_place() -> None:
    for document in (
        {"room": "r", "rev": 1, "at": AT, "kind": "reaction", "emoji": "+"},
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
        fold_room(RoomView(room="r"), [Read(room="r", rev=2, at=AT, user="ana", up_to=1)])


def test_a_message_id_contains_its_place() -> None:
    assert message_place(message_id("room.1", 7)) == ("room.1", 7)
    for wrong in ("", "7", ".7", "room.", "room.x", "room.²"):
        assert message_place(wrong) is None


def test_times_are_kept_to_the_millisecond() -> None:
    event = Read(room="r", rev=1, at=AT, user="ana", up_to=1)
    assert event.at.microsecond == 678_000
    assert event.payload()["at"] == "2026-01-02T03:04:05.678Z"


def test_read_by_others_is_the_slowest_other() -> None:
    view = RoomView(room="r", rev=9, members=PEOPLE, reads={"ana": 9, "ben": 5})
    assert view.read_by_others("ana") == 0
    assert view.model_copy(update={"members": ("ana", "ben")}).read_by_others("ana") == 5


def test_no_error_contains_a_message_text() -> None:
    words = "something private"
    wrong = {"room": "r", "rev": 0, "at": AT, "kind": "message", "text": words, "client_id": 1}
    with pytest.raises(ValidationError) as error:
        parse(wrong)
    assert words not in "".join(traceback.format_exception(error.value))
    with pytest.raises(ValidationError) as error:
        MessageView.model_validate(wrong)
    assert words not in str(error.value)
