"""Logs of a room as the service could have written them, with events of every kind."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from ashchat_chat.rooms.events import (
    ALL_MEMBERS,
    KINDS,
    AnyEvent,
    Deleted,
    Edited,
    MemberChange,
    Members,
    Reacted,
    RoomChanged,
    Sent,
    Translated,
)
from ashchat_chat.rooms.folds import fold_messages
from ashchat_chat.rooms.views import Role

AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
USERS = ("ana", "ben", "eve")
TEXTS = {user: f"{user} wrote this" for user in USERS}
MENTIONS = st.sets(st.sampled_from([*USERS, ALL_MEMBERS]), max_size=2).map(tuple)
OUTCOMES = st.sampled_from(
    [
        {"outcome": "translated", "provider": "p"},
        {"outcome": "unchanged"},
        {"outcome": "failed", "reason": "pair_unsupported"},
    ]
)


def founded(users: tuple[str, ...] = USERS) -> Members:
    """Return a room's first event."""
    changes = tuple(MemberChange(user=user, role=Role.MEMBER) for user in users)
    return Members(room="r", rev=1, at=AT, changes=changes)


def sent_in(log: list[AnyEvent]) -> list[Sent]:
    """Return the messages of a log."""
    return [event for event in log if isinstance(event, Sent)]


def _message(draw: st.DrawFn, log: list[AnyEvent], place: dict[str, Any]) -> AnyEvent:
    sender = draw(st.sampled_from(USERS))
    return Sent(
        **place, n=len(sent_in(log)) + 1, sender=sender, client_id=f"c{place['rev']}",
        text=TEXTS[sender], language="es", targets=("de", "en"),
        mentions=draw(MENTIONS),
    )  # fmt: skip


def _translation(draw: st.DrawFn, log: list[AnyEvent], place: dict[str, Any]) -> AnyEvent:
    original = draw(st.sampled_from(sent_in(log)))
    target, outcome = draw(st.sampled_from(["en", "de"])), draw(OUTCOMES)
    return Translated(
        **place, client_id=f"{place['rev']}.1.{target}", about=original.rev, text_version=1,
        target=target, text=original.text if outcome["outcome"] == "translated" else None,
        **outcome,
    )  # fmt: skip


def _members(draw: st.DrawFn, log: list[AnyEvent], place: dict[str, Any]) -> AnyEvent:
    del log
    role = draw(st.sampled_from([None, *Role]))
    change = MemberChange(user=draw(st.sampled_from(USERS)), role=role)
    return Members(**place, by=draw(st.sampled_from([None, *USERS])), changes=(change,))


def _edit(draw: st.DrawFn, log: list[AnyEvent], place: dict[str, Any]) -> AnyEvent:
    original = draw(st.sampled_from(sent_in(log)))
    (before,) = (one for one in fold_messages([], log) if one.rev == original.rev)
    mentions = draw(MENTIONS)
    return Edited(
        **place, about=original.rev, number=original.n, sender=original.sender,
        client_id=f"c{place['rev']}", text=f"{TEXTS[original.sender]} again", language="es",
        targets=("de", "en"), mentions=mentions,
        no_longer_mentioned=tuple(user for user in before.mentions if user not in mentions),
    )  # fmt: skip


def _delete(draw: st.DrawFn, log: list[AnyEvent], place: dict[str, Any]) -> AnyEvent:
    original = draw(st.sampled_from(sent_in(log)))
    by = draw(st.sampled_from(USERS))
    return Deleted(**place, about=original.rev, number=original.n, by=by)


def _reaction(draw: st.DrawFn, log: list[AnyEvent], place: dict[str, Any]) -> AnyEvent:
    original = draw(st.sampled_from(sent_in(log)))
    emoji, by = draw(st.sampled_from(["\U0001f600", "\u2764"])), draw(st.sampled_from(USERS))
    return Reacted(**place, about=original.rev, by=by, emoji=emoji, on=draw(st.booleans()))


def _room(draw: st.DrawFn, log: list[AnyEvent], place: dict[str, Any]) -> AnyEvent:
    del log
    name = draw(st.sampled_from([None, "Kitchen", "Garden"]))
    return RoomChanged(**place, by=draw(st.sampled_from(USERS)), name=name)


Draw = Callable[[st.DrawFn, list[AnyEvent], dict[str, Any]], AnyEvent]
DRAWN: dict[type[AnyEvent], Draw] = {
    Members: _members, RoomChanged: _room, Sent: _message, Edited: _edit, Deleted: _delete,
    Reacted: _reaction,
    Translated: _translation,
}  # fmt: skip
assert set(DRAWN) == set(KINDS), "a kind is not drawn"


@st.composite
def logs(draw: st.DrawFn) -> list[AnyEvent]:
    """Draw a log."""
    log: list[AnyEvent] = [founded()]
    for rev in range(2, draw(st.integers(2, 25))):
        kind = draw(st.sampled_from(KINDS)) if sent_in(log) else Sent
        place = {"room": "r", "rev": rev, "at": AT + timedelta(seconds=rev)}
        log.append(DRAWN[kind](draw, log, place))
    return log
