"""Appends to the logs in MongoDB, in bulk.

An unordered bulk insert reports each refused document by its index and stores the others, on
FerretDB too; results/chat/commits.md has what that is worth.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, PyMongoError

from ashchat_chat.adapters.batches import Batches, TooManyWaitingError
from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.ports import ConflictError, StoreUnavailableError
from ashchat_core.mongo import unavailable

Collection = AsyncCollection[dict[str, Any]]
Document = dict[str, Any]

APPENDS_MAX = 100
"""Maximum events in one insert."""

APPEND_WRITERS = 2
"""Maximum concurrent inserts."""

APPENDS_WAITING_MAX = 10_000
"""Maximum events that wait to be inserted; further ones are refused as unavailable."""

APPEND_SECONDS = 6.0
"""How long an insert is repeated while the server is away; clients give up after 10 s."""

APPEND_AGAIN_SECONDS = 0.2

DUPLICATE_KEY_CODE = 11000


class Appends:
    """Inserts documents whose place is decided by unique indexes.

    A document gets its `_id` here, before the first attempt. So when an answer is lost, the
    insert is repeated with the same `_id`, and a conflict is compared with it: the document that
    is found is either this one, which was committed by an earlier attempt, or another one.
    """

    def __init__(self, collection: Callable[[], Collection]) -> None:
        self._collection = collection
        self._batches = Batches(
            self._write, largest=APPENDS_MAX, writers=APPEND_WRITERS, waiting=APPENDS_WAITING_MAX
        )

    async def insert(self, document: Document) -> None:
        """Commit a document.

        Raises:
            ConflictError: a unique index holds another document.
            StoreUnavailableError: it is not known whether it is committed.
        """
        with _too_many_as_unavailable():
            await self._batches.put({"_id": ObjectId(), **document})

    async def _write(self, documents: Sequence[Document]) -> list[Exception | None]:
        attempt = _Attempt(documents)
        deadline = monotonic() + APPEND_SECONDS
        while attempt.open:
            try:
                await self._try(attempt)
            except PyMongoError as error:
                if not unavailable(error):
                    raise
                attempt.doubtful |= set(attempt.open)
            if attempt.open and monotonic() > deadline:
                attempt.close(attempt.open, StoreUnavailableError("insert"))
            elif attempt.open:
                await asyncio.sleep(APPEND_AGAIN_SECONDS)
        return attempt.errors

    async def _try(self, attempt: "_Attempt") -> None:
        indexes = list(attempt.open)
        refused: dict[int, Document] = {}
        try:
            await self._collection().insert_many(
                [attempt.documents[index] for index in indexes], ordered=False
            )
        except BulkWriteError as error:
            refused = {indexes[one["index"]]: one for one in error.details["writeErrors"]}
        attempt.close((index for index in indexes if index not in refused), None)
        conflicts = {i for i, one in refused.items() if one["code"] == DUPLICATE_KEY_CODE}
        ours = await self._found(conflicts & attempt.doubtful, attempt.documents)
        attempt.close(ours, None)
        attempt.close(conflicts - ours, ConflictError())
        for index in refused.keys() - conflicts:
            reason = BulkWriteError({"writeErrors": [refused[index]]})
            if unavailable(reason):
                attempt.doubtful.add(index)
            else:
                attempt.close([index], reason)

    async def _found(self, indexes: Iterable[int], documents: Sequence[Document]) -> set[int]:
        """Return which of these documents an earlier attempt has committed."""
        wanted = {documents[index]["_id"]: index for index in indexes}
        if not wanted:
            return set()
        found = self._collection().find({"_id": {"$in": list(wanted)}}, {"_id": 1})
        return {wanted[one["_id"]] async for one in found}


class _Attempt:
    """What is known about each document of a batch."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents
        self.errors: list[Exception | None] = [None] * len(documents)
        self.open = dict.fromkeys(range(len(documents)))
        """Documents without an outcome, in order."""
        self.doubtful: set[int] = set()
        """Documents that an earlier attempt may have committed."""

    def close(self, indexes: Iterable[int], error: Exception | None) -> None:
        """Record the outcome of documents."""
        for index in list(indexes):
            self.errors[index] = error
            del self.open[index]


@contextmanager
def _too_many_as_unavailable() -> Iterator[None]:
    try:
        yield
    except TooManyWaitingError as error:
        raise StoreUnavailableError("too many writes wait") from error
