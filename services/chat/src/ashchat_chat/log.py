"""The log of a room: its events, and what is read off it.

Every change in a room is one event with the next revision, `rev`. Whatever else there is
(messages with their translations, read positions, unread counts) is a fold over the log,
so it can always be made again. Nothing here does I/O.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from ashchat_core import languages

TRANSLATOR = "system:translate"
"""The sender of translations; no user's id has a colon."""

DELETED = "deleted:"
ERASED = "erased"
"""Why there is no translation of a message whose sender deleted their account."""


def placeholder(user: str) -> str:
    """Return the placeholder of a deleted user.

    A digest of a random id: permanently the same in every room, so that a
    deletion can be done again, and nobody can say whose place it is.
    """
    return DELETED + hashlib.sha256(user.encode()).hexdigest()[:32]


def is_placeholder(user: str) -> bool:
    """Return whether this id is a deleted account's placeholder."""
    return user.startswith(DELETED)


# An error that shows what it met would show a message's text in the log.
_CONFIG = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Event(BaseModel):
    model_config = _CONFIG

    room: str
    rev: int = Field(ge=1)
    at: datetime

    @field_validator("at")
    @classmethod
    def _milliseconds(cls, at: datetime) -> datetime:
        # MongoDB keeps milliseconds: what was written and what is read back must be equal.
        at = at.astimezone(UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    def visible_to(self, language: str) -> bool:
        """Return whether the event is sent to readers of a language."""
        del language  # what is not a translation is for everybody
        return True

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        raise NotImplementedError


class Members(_Event):
    """Who is in the room from here on: the first event, and when an account was deleted."""

    kind: Literal["members"] = "members"
    members: tuple[str, ...]

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        return {**_head(self), "members": list(self.members)}


class Sent(_Event):
    """A message was sent. (room, sender, client_id) is unique."""

    kind: Literal["message"] = "message"
    sender: str
    client_id: str
    text: str
    language: str
    targets: tuple[str, ...] = ()
    erased: bool | None = None
    """True: the sender's account was deleted, and with it what they wrote."""

    @property
    def message_id(self) -> str:
        """The message's id: unique, and contains its place in the log."""
        return message_id(self.room, self.rev)

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        return {
            **_head(self),
            "message_id": self.message_id,
            "sender_id": self.sender,
            "mobile_ref_id": self.client_id,
            "content": self.text,
            "language": self.language,
            "targets": list(self.targets),
            "text_version": 1,
            **({"erased": True} if self.erased else {}),
        }


class Translated(_Event):
    """A message in another language, or word that it will not come."""

    kind: Literal["translation"] = "translation"
    sender: str = TRANSLATOR
    client_id: str
    message: str
    message_rev: int
    text_version: int
    target: str
    outcome: Literal["translated", "unchanged", "failed"]
    text: str | None = None
    provider: str | None = None
    reason: str | None = None

    def visible_to(self, language: str) -> bool:
        """Return whether readers of a language are sent this translation."""
        return languages.same(language, self.target)

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        return {
            **_head(self),
            "message_id": self.message,
            "message_rev": self.message_rev,
            "text_version": self.text_version,
            "language": self.target,
            "outcome": self.outcome,
            "content": self.text,
            "provider": self.provider,
            "reason": self.reason,
        }


class Read(_Event):
    """A user has read up to a revision."""

    kind: Literal["read"] = "read"
    user: str
    up_to: int = Field(ge=1)

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        return {**_head(self), "user_id": self.user, "up_to": self.up_to}


class Opaque(_Event):
    """An event that this version cannot read: a newer one wrote it, while pods are replaced.

    It keeps its place in the order, so that what comes after it is not held up.
    """

    kind: Literal["opaque"] = "opaque"

    def visible_to(self, language: str) -> bool:
        """Return False: unknown events are not sent."""
        del language
        return False

    def payload(self) -> dict[str, Any]:
        """Return the event's place."""
        return _head(self)


AnyEvent = Members | Sent | Translated | Read | Opaque

_EVENTS: TypeAdapter[Members | Sent | Translated | Read] = TypeAdapter(
    Annotated[Members | Sent | Translated | Read, Field(discriminator="kind")],
    config=ConfigDict(hide_input_in_errors=True),
)


def parse(document: dict[str, Any]) -> AnyEvent:
    """Return the event in a document of the store, or in what another pod published.

    Raises:
        ValidationError: it has not even a place in a room.
    """
    try:
        return _EVENTS.validate_python(document)
    except ValidationError:
        return Opaque.model_validate({**document, "kind": "opaque"})


def _head(event: AnyEvent) -> dict[str, Any]:
    return {"rev": event.rev, "kind": event.kind, "at": timestamp(event.at)}


def timestamp(at: datetime) -> str:
    """Return a time as the wire has it: ISO 8601, UTC, milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message_id(room: str, rev: int) -> str:
    """Return the id of the message that is event `rev` of a room."""
    return f"{room}.{rev}"


def message_place(identifier: str) -> tuple[str, int] | None:
    """Return the room and the revision of a message's id; None: it is no such id."""
    room, _, rev = identifier.rpartition(".")
    return (room, int(rev)) if room and rev.isascii() and rev.isdigit() else None


class Translation(BaseModel):
    """One language of a message."""

    model_config = _CONFIG

    outcome: Literal["translated", "unchanged", "failed"]
    text: str | None = None
    text_version: int = 1


class MessageView(BaseModel):
    """A message as it stands: the fold of its events."""

    model_config = _CONFIG

    room: str
    rev: int
    at: datetime
    sender: str
    client_id: str
    text: str
    language: str
    translations: dict[str, Translation] = {}
    erased: bool = False

    @property
    def id(self) -> str:
        """The message's id."""
        return message_id(self.room, self.rev)

    def text_for(self, language: str) -> str | None:
        """Return the translation a reader of that language gets; None: there is none."""
        for target, translation in self.translations.items():
            if translation.outcome == "translated" and languages.same(language, target):
                return translation.text
        return None


class RoomView(BaseModel):
    """A room as it stands: the fold of its log up to `rev`."""

    model_config = _CONFIG

    room: str
    rev: int = 0
    members: tuple[str, ...] = ()
    reads: dict[str, int] = {}

    def read_by_others(self, user: str) -> int:
        """Return up to where everybody else in the room has read."""
        others = [self.reads.get(member, 0) for member in self.members if member != user]
        return min(others, default=0)


class OutOfOrderError(ValueError):
    """An event was folded that is not the next one, which is a defect of the caller."""


def fold_room(view: RoomView, events: Iterable[AnyEvent]) -> RoomView:
    """Return the room after these events.

    Raises:
        OutOfOrderError: an event is not the next one.
    """
    rev, members, reads = view.rev, view.members, dict(view.reads)
    for event in events:
        if event.rev != rev + 1:
            raise OutOfOrderError(f"{event.rev} after {rev}")
        rev = event.rev
        match event:
            case Members():
                # A placeholder has read as far as the deleted user.
                for who in set(members) - set(event.members):
                    if (gone := placeholder(who)) in event.members and who in reads:
                        reads[gone] = reads.pop(who)
                members = event.members
            case Read():
                reads[event.user] = max(reads.get(event.user, 0), event.up_to)
            case Sent():
                # Who writes has the room before them, and their own message needs no reading.
                pass
            case Translated() | Opaque():
                pass
    return RoomView(room=view.room, rev=rev, members=members, reads=reads)


def fold_messages(known: Iterable[MessageView], events: Iterable[AnyEvent]) -> list[MessageView]:
    """Return the messages after these events, by revision.

    Folding an event twice changes nothing, so two pods may project the same range.
    """
    messages = {message.rev: message for message in known}
    for event in events:
        if isinstance(event, Sent):
            messages.setdefault(
                event.rev,
                MessageView(
                    room=event.room,
                    rev=event.rev,
                    at=event.at,
                    sender=event.sender,
                    client_id=event.client_id,
                    text=event.text,
                    language=event.language,
                    erased=bool(event.erased),
                ),
            )
        elif isinstance(event, Translated) and event.message_rev in messages:
            message = messages[event.message_rev]
            if message.erased:
                continue
            translation = Translation(
                outcome=event.outcome, text=event.text, text_version=event.text_version
            )
            messages[event.message_rev] = message.model_copy(
                update={"translations": {**message.translations, event.target: translation}}
            )
    return [messages[rev] for rev in sorted(messages)]


def erase(event: AnyEvent, user: str, theirs: set[int]) -> AnyEvent | None:
    """Return an event with a user replaced by a placeholder; None if it is unchanged.

    What stays is what the others' room needs to hold together: that there was a message,
    when, and its sender's own id of it. `theirs` are the revisions of their messages.
    """
    gone = placeholder(user)
    match event:
        case Members() if user in event.members:
            members = tuple(gone if who == user else who for who in event.members)
            return event.model_copy(update={"members": members})
        case Sent() if event.sender == user:
            return event.model_copy(
                update={
                    "sender": gone,
                    "text": "",
                    "language": languages.UNKNOWN,
                    "targets": (),
                    "erased": True,
                }
            )
        case Translated() if event.message_rev in theirs and event.reason != ERASED:
            return event.model_copy(
                update={"outcome": "failed", "text": None, "provider": None, "reason": ERASED}
            )
        case Read() if event.user == user:
            return event.model_copy(update={"user": gone})
        case _:
            return None
