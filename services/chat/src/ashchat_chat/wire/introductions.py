"""What a socket is sent about a room that it has joined: who the receiver is, and who is online."""

from collections.abc import AsyncIterator

from ashchat_chat.rooms.errors import NoSuchUserError
from ashchat_chat.rooms.ports import Push, group_profile
from ashchat_chat.rooms.views import RoomView
from ashchat_chat.wire.rules import Rules


async def introductions(
    rules: Rules, view: RoomView, user: str, protocol: int
) -> AsyncIterator[Push]:
    """Return what group it is, or who the other user is, and whether that user is online.

    Raises:
        StoreUnavailableError
    """
    topic = f"chat:{view.room}"
    if view.kind == "group":
        yield Push(topic, "receiver_info", group_profile(view).payload())
        return
    receiver = next((who for who in view.members if who != user), "")
    last_seen_at = None
    try:
        profile = await rules.profiles.profile(receiver)
    except NoSuchUserError:
        pass
    else:
        last_seen_at = profile.last_seen_at
        yield Push(topic, "receiver_info", profile.payload())
    found = await rules.presence.availability({receiver: last_seen_at})
    yield Push(topic, "receiver_online", found[receiver].payload(protocol))
