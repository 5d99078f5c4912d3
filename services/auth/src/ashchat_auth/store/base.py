"""Shared by the parts of the store."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from ashchat_core.mongo import Mongo

DELETED_AT_ONCE: Final = 1_000
"""Maximum documents per deletion: a command must end before the socket's time limit."""


class MongoPart:
    """A part of the store."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo


async def delete_page(collection: Any, which: Mapping[str, Any]) -> bool:
    """Delete a page of the documents that match; True if none is left."""
    found = collection.find(which, {"_id": 1}).limit(DELETED_AT_ONCE)
    ids = [one["_id"] async for one in found]
    if ids:
        await collection.delete_many({"_id": {"$in": ids}})
    return len(ids) < DELETED_AT_ONCE


def plain(value: Any) -> Any:
    """Return models as documents, recursively; times stay times."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def document(model: BaseModel) -> dict[str, Any]:
    """Return a model as a document, its `id` as MongoDB's."""
    fields = model.model_dump()
    return {"_id": fields.pop("id"), **fields}


def fields(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as a model's fields."""
    return {**found, "id": found["_id"]}
