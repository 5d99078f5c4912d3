"""The kinds of events are a closed set; what every kind must do is tested for every kind."""

from datetime import UTC, datetime
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

import pytest
from pydantic import BaseModel

from ashchat_chat.rooms.events import KINDS, AnyEvent, Opaque, parse
from ashchat_chat.rooms.events.base import Event
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_chat.rooms.views import Role

M = TypeVar("M", bound=BaseModel)
AT = datetime(2026, 1, 2, tzinfo=UTC)
NOT_ABOUT_USERS = {
    "room", "client_id", "message", "target", "language", "name", "picture", "description",
    "emoji",
}  # fmt: skip
"""Fields that never contain a user's id: other ids, language tags, how a group looks."""


def filled(kind: type[M], user: str) -> M:
    """Return an event with a user's id in every field that could contain one."""

    def value(name: str, annotation: Any) -> Any:
        options = [one for one in get_args(annotation) if one is not NoneType]
        if get_origin(annotation) is Literal:
            return options[0]
        if options and get_origin(annotation) is not tuple:
            return value(name, options[0])
        if get_origin(annotation) is tuple:
            return () if name == "targets" else (value(name, get_args(annotation)[0]),)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return filled(annotation, user)
        if annotation is str:
            return "en" if name in NOT_ABOUT_USERS else user
        return {int: 3, datetime: AT, bool: False, Role: Role.MEMBER}[annotation]

    return kind(**{name: value(name, one.annotation) for name, one in kind.model_fields.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_stores_a_deleted_users_id(kind: type[Event]) -> None:
    event = filled(kind, "ana")
    assert "ana" in event.model_dump_json()
    erased = event.erased_for("ana", {3})
    assert erased is not None
    assert "ana" not in erased.model_dump_json().replace(placeholder("ana"), "")
    assert erased.rev == event.rev
    # Repeating a deletion changes nothing.
    again = erased.erased_for("ana", {3})
    assert again is None or again == erased


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_keeps_the_text_of_a_deleted_message(kind: type[Event]) -> None:
    event = filled(kind, "secret")
    purged = event.purged()
    if purged is not None:
        texts = purged.model_dump_json(exclude={"sender", "by"})
        assert "secret" not in texts
        assert (purged.rev, purged.purged()) == (event.rev, purged)
    else:
        assert not hasattr(event, "text")


@pytest.mark.parametrize("kind", KINDS)
def test_other_users_events_are_not_changed_by_a_deletion(kind: type[Event]) -> None:
    assert filled(kind, "ben").erased_for("ana", set()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_is_read_back(kind: type[Event]) -> None:
    event = filled(kind, "ana")
    read: AnyEvent = parse(event.model_dump(exclude_none=True))
    assert read == event
    assert not isinstance(read, Opaque)
    assert read.payload()["kind"] == getattr(event, "kind", None)
