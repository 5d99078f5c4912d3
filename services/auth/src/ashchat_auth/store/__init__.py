"""Accounts, sessions and security events in MongoDB, database `auth`.

FerretDB has no transactions: every guarantee here is one write of one document or a unique
index, never a read followed by a write.
"""

from datetime import timedelta

from ashchat_auth.store.events import MongoEvents
from ashchat_auth.store.factors import MongoFactors
from ashchat_auth.store.sessions import MongoSessions
from ashchat_core.mongo import Mongo


class MongoStore(MongoFactors, MongoSessions, MongoEvents):
    """Everything that auth stores; see `service.ports.Store`."""

    def __init__(self, mongo: Mongo, *, event_life: timedelta) -> None:
        super().__init__(mongo)
        self._event_life = event_life

    async def create_indexes(self) -> None:
        """Create the indexes that do not exist."""
        users = self._mongo.database["users"]
        await users.create_index("email_key", unique=True)
        await users.create_index("due.at")
        await users.create_index("deleting_since")
        await users.create_index("two_factor.secret")
        await users.create_index("enrolment.secret")
        sessions = self._mongo.database["sessions"]
        await sessions.create_index("user_id")
        await sessions.create_index("revoked_at")
        await sessions.create_index("expires_at", expireAfterSeconds=0)
        events = self._mongo.database["events"]
        await events.create_index([("user_id", 1), ("at", -1)])
        await events.create_index("expires_at", expireAfterSeconds=0)
