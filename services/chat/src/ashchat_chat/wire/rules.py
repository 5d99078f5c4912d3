"""The rules behind the sockets."""

import asyncio
from dataclasses import dataclass, field

from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.users.notifications import Inbox
from ashchat_chat.users.presence import Presence
from ashchat_chat.users.profiles import Profiles
from ashchat_chat.users.typing import Typing
from ashchat_chat.wire import limits
from ashchat_chat.wire.limits import Bucket


@dataclass(frozen=True, slots=True)
class Rules:
    """What sessions call, and what all of them share."""

    rooms: Rooms
    inbox: Inbox
    presence: Presence
    typing: Typing
    profiles: Profiles
    pod: str
    sending: dict[str, Bucket] = field(default_factory=dict)
    acking: dict[str, Bucket] = field(default_factory=dict)
    joining: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(limits.JOINS_AT_ONCE)
    )
