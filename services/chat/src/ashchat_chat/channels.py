"""Names of the publish/subscribe channels between pods."""

ROOM_CHANNEL = "chat:room:"
"""Prefix; a room's id follows."""

USER_CHANNEL = "chat:user:"
"""Prefix; a user's id follows."""

PRESENCE_CHANNEL = "chat:presence"
PROFILE_CHANNEL = "chat:profiles"
