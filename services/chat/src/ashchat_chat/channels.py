"""Names of the publish/subscribe channels; every pod receives all of them."""

TYPING_CHANNEL = "chat:typing"
POSITIONS_CHANNEL = "chat:positions"
PRESENCE_CHANNEL = "chat:presence"
PROFILE_CHANNEL = "chat:profiles"

ALL = (TYPING_CHANNEL, POSITIONS_CHANNEL, PRESENCE_CHANNEL, PROFILE_CHANNEL)
