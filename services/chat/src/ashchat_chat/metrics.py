"""The metrics of chat."""

from prometheus_client import Counter, Gauge, Histogram

SOCKETS = Gauge("ashchat_chat_sockets", "Open sockets on this pod")
ROOMS = Gauge("ashchat_chat_rooms", "Rooms with an open socket on this pod")
ACCEPTED = Counter("ashchat_chat_messages_accepted_total", "Messages committed to a log")
DUPLICATES = Counter(
    "ashchat_chat_messages_repeated_total", "Sends of a message that was already stored"
)
CONFLICTS = Counter("ashchat_chat_log_conflicts_total", "Inserts that lost the race for a revision")
EVENTS = Counter("ashchat_chat_log_events_total", "Events committed by this pod", ["kind"])
DELIVERED = Counter("ashchat_chat_frames_delivered_total", "Frames written to sockets")
FILLED = Counter(
    "ashchat_chat_gap_events_total",
    "Events recovered from the store that were not received in time",
)
COMPARED = Counter(
    "ashchat_chat_rooms_compared_total",
    "Rooms compared with the store because an event may not have been received",
)
RESETS = Counter("ashchat_chat_resets_total", "Resumes answered with `reset`")
CLOSED = Counter("ashchat_chat_sockets_closed_total", "Sockets closed by the server", ["code"])
REFUSED = Counter("ashchat_chat_sockets_refused_total", "Sockets refused", ["reason"])
REVOKED = Gauge(
    "ashchat_chat_revocations", "Ended sessions and deleted users that this pod still rejects"
)
COMMIT_SECONDS = Histogram(
    "ashchat_chat_commit_duration_seconds",
    "Time from a message's arrival to its commit",
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
TRANSLATION_SECONDS = Histogram(
    "ashchat_chat_translation_duration_seconds",
    "Time from a message's commit to the commit of a translation",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0),
)
OUTBOX = Gauge("ashchat_chat_outbox_messages", "Messages that wait for the broker")
FANOUT_CONNECTED = Gauge(
    "ashchat_chat_fanout_connected", "1: connected to the fan-out between pods"
)
