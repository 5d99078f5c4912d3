"""Driver errors as domain errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from ashchat_chat.rooms.ports import ConflictError, StoreUnavailableError
from ashchat_core.mongo import unavailable

Collection = AsyncCollection[dict[str, Any]]

DUPLICATE_KEY = 11_000


@asynccontextmanager
async def domain_errors() -> AsyncIterator[None]:
    """Translate driver errors into domain errors.

    Raises:
        ConflictError: a unique index refused the write.
        StoreUnavailableError: the server is unavailable.
    """
    try:
        yield
    except DuplicateKeyError as error:
        raise ConflictError from error
    except PyMongoError as error:
        if unavailable(error):
            raise StoreUnavailableError(type(error).__name__) from error
        raise


@asynccontextmanager
async def conflicts_ignored() -> AsyncIterator[None]:
    """Ignore that some of an unordered bulk's upserts met a document that their filter excludes.

    The others were done (https://www.mongodb.com/docs/manual/core/bulk-write-operations/).
    """
    try:
        yield
    except BulkWriteError as error:
        if any(one["code"] != DUPLICATE_KEY for one in error.details["writeErrors"]):
            raise
