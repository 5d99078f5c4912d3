"""Shared by the parts of the store."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ashchat_core.mongo import Mongo


class MongoPart:
    """A part of the store."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo


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
