"""The index of mentions: which users' mentions an event decides.

A message decides the mentions of the users whom its text mentions; an edit also of those whom the
message mentioned until then. So of a message's events that decide about a user, the newest holds
whether the message mentions that user, and nothing is rewritten when a message is edited.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ashchat_chat.rooms.events import ALL_MEMBERS, AnyEvent, Edited, Sent

INDEX = [("room", 1), ("mention_users", 1), ("mention_n", 1)]
PROJECTION = {"room": 1, "rev": 1, "sender": 1, "mentions": 1, "mention_n": 1}


def fields(event: AnyEvent) -> dict[str, Any]:
    """Return the fields of an event's document that are in the index; none if it decides none."""
    users: tuple[str, ...] = ()
    n = 0
    if isinstance(event, Sent):
        users, n = event.mentions, event.n
    elif isinstance(event, Edited):
        users, n = (*event.mentions, *event.no_longer_mentioned), event.number
    return {"mention_users": list(users), "mention_n": n} if users else {}


def query(room: str, user: str, after: int) -> dict[str, Any]:
    """Return the filter of the events that decide whether messages mention a user.

    Args:
        room: The id of a room.
        user: The user's id.
        after: The number of a message; only messages after it are looked for.
    """
    users = [user, ALL_MEMBERS]
    return {"room": room, "mention_users": {"$in": users}, "mention_n": {"$gt": after}}


def count(user: str, found: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return, by room, how many messages of others mention a user.

    Args:
        user: The user's id.
        found: The documents that `query` found, in any order.
    """
    newest: dict[tuple[str, int], Mapping[str, Any]] = {}
    for one in found:
        message = one["room"], one["mention_n"]
        if message not in newest or newest[message]["rev"] < one["rev"]:
            newest[message] = one
    return Counter(
        one["room"]
        for one in newest.values()
        if one["sender"] != user and not {user, ALL_MEMBERS}.isdisjoint(one["mentions"])
    )
