"""Charges what users store to their quotas."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ashchat_chat.rooms.errors import Reason, RefusedError
from ashchat_chat.rooms.ports import StoreUnavailableError, TextQuota

EVENT_CHARS = 250
"""What an event counts in addition to its text: about as many characters are stored with it."""

_EventT = TypeVar("_EventT")


async def charged(
    quota: TextQuota, user: str, text: str, append: Callable[[], Awaitable[tuple[_EventT, bool]]]
) -> tuple[_EventT, bool]:
    """Append an event, and charge it to its author unless it is not stored.

    Args:
        quota: How much text accounts may store.
        user: The author.
        text: The text of the event; empty if it has none.
        append: Stores it; returns the event, and whether it is new.

    Raises:
        RefusedError: the quota is used up; and what `append` raises.
    """
    chars = len(text) + EVENT_CHARS
    if wait := await quota.charge(user, chars):
        raise RefusedError(Reason.TEXT_QUOTA_EXCEEDED, retry_after_ms=1_000 * wait)
    stored = False
    try:
        event, stored = await append()
    except StoreUnavailableError:
        # It may be stored.
        stored = True
        raise
    finally:
        if not stored:
            quota.give_back(user, chars)
    return event, stored
