"""What a socket is sent about a room that it has joined: who the receiver is, and who is online."""

from collections.abc import AsyncIterator

from ashchat_chat.rooms.errors import NoSuchUserError
from ashchat_chat.rooms.ports import Push, availability_protocols, group_profile
from ashchat_chat.rooms.views import RoomView
from ashchat_chat.wire.rules import Rules


async def introductions(
    rules: Rules, view: RoomView, user: str, protocol: int
) -> AsyncIterator[Push]:
    """Return who the receiver is: the group, or the other user; and who is online.

    Raises:
        StoreUnavailableError
    """
    topic = f"chat:{view.room}"
    if view.kind == "group":
        yield Push(topic, "receiver_info", group_profile(view).payload())
        if protocol in availability_protocols(view):
            found = await rules.presence.availability(dict.fromkeys(view.members))
            for who in found.values():
                if who.online and who.user != user:
                    yield Push(topic, "receiver_online", who.payload(protocol))
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
