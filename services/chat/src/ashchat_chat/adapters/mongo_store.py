"""The store of chat in MongoDB.

No transactions and no change streams, so that FerretDB serves as well.
"""

from collections.abc import Sequence

from ashchat_chat.adapters.mongo_log import MongoLog
from ashchat_chat.adapters.mongo_profiles import MongoProfiles
from ashchat_chat.adapters.mongo_rooms import MongoRooms
from ashchat_chat.rooms.events import AnyEvent, Deleted
from ashchat_core.mongo import Mongo


class Store(MongoLog, MongoRooms, MongoProfiles):
    """Everything that chat stores."""

    def __init__(self, mongo: Mongo) -> None:
        MongoLog.__init__(self, mongo)
        MongoRooms.__init__(self, mongo)
        MongoProfiles.__init__(self, mongo)

    async def purge(self, deletion: Deleted, events: Sequence[AnyEvent]) -> None:
        """Replace the events of the same revisions, and the preview of the deleted message.

        The mark of the deletion is removed last.
        """
        await self.rewrite(events)
        await self.set_preview(deletion.room, deletion.number, "")
        await self.purged(deletion)

    async def create_indexes(self) -> None:
        """Create the indexes that are missing; repeating it changes nothing."""
        await self.create_log_indexes()
        await self.create_room_indexes()
        await self.create_profile_indexes()
