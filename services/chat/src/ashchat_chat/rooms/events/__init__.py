"""The kinds of events in a room's log, a closed set: one module per kind.

Each class implements what `base.Event` declares: the payload of protocol 2, who sees it, how it
changes the room and a message, and how it is erased with an account. `StoredEvent` is the
registry: the parser and the tests of all kinds are derived from it, and the type checker
reports each `match` over events that misses a kind.
"""

from typing import Annotated, Any, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ashchat_chat.rooms.events.delete import Deleted
from ashchat_chat.rooms.events.edit import Edited
from ashchat_chat.rooms.events.members import MemberChange, Members
from ashchat_chat.rooms.events.message import Sent
from ashchat_chat.rooms.events.opaque import Opaque
from ashchat_chat.rooms.events.reaction import Reacted
from ashchat_chat.rooms.events.room import RoomChanged
from ashchat_chat.rooms.events.translation import Translated
from ashchat_chat.rooms.events.written import ALL_MEMBERS

__all__ = [
    "ALL_MEMBERS",
    "KINDS",
    "AnyEvent",
    "Deleted",
    "Edited",
    "MemberChange",
    "Members",
    "Opaque",
    "Reacted",
    "RoomChanged",
    "Sent",
    "Text",
    "Translated",
    "parse",
]

StoredEvent = Members | RoomChanged | Sent | Edited | Deleted | Reacted | Translated
"""Every kind that is written."""

AnyEvent = StoredEvent | Opaque
"""Every event that is read."""

Text = Sent | Edited
"""What is translated."""

KINDS: tuple[type[StoredEvent], ...] = get_args(StoredEvent)

_EVENTS: TypeAdapter[StoredEvent] = TypeAdapter(
    Annotated[StoredEvent, Field(discriminator="kind")],
    config=ConfigDict(hide_input_in_errors=True),
)


def parse(document: dict[str, Any]) -> AnyEvent:
    """Return the event in a document of the store, or in what another pod published.

    Raises:
        ValidationError: it does not even have a place in a room.
    """
    try:
        return _EVENTS.validate_python(document)
    except ValidationError:
        return Opaque.model_validate({**document, "kind": "opaque"})
