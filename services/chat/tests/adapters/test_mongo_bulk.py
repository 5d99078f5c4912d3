"""Appends over a collection that refuses and loses answers.

The collection keeps what the real one promises: an unordered insert stores what it does not
refuse, and reports what it refuses by index. tests/e2e/faults meets the real one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, BulkWriteError

from ashchat_chat.adapters import mongo_bulk
from ashchat_chat.adapters.mongo_bulk import Appends
from ashchat_chat.rooms.ports import ConflictError, StoreUnavailableError

INTERNAL_ERROR = 1


@dataclass
class Collection:
    """Documents with a unique (room, rev), as MongoDB keeps them."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    lost_before: int = 0
    """Inserts that fail before they did anything."""
    lost_after: int = 0
    """Inserts whose answer is lost."""
    fails: set[int] = field(default_factory=set)
    """Revisions that PostgreSQL fails to store, each once."""

    async def insert_many(self, documents: Sequence[dict[str, Any]], *, ordered: bool) -> None:
        assert not ordered
        await asyncio.sleep(0)
        self.calls.append(len(documents))
        if self.lost_before:
            self.lost_before -= 1
            raise AutoReconnect("connection closed")
        errors = []
        for index, one in enumerate(documents):
            taken = any(
                other["_id"] == one["_id"]
                or (other["room"], other["rev"]) == (one["room"], one["rev"])
                for other in self.documents
            )
            if taken:
                errors.append({"index": index, "code": 11000, "errmsg": "duplicate"})
            elif one["rev"] in self.fails:
                self.fails.discard(one["rev"])
                errors.append({"index": index, "code": INTERNAL_ERROR, "errmsg": "internal"})
            else:
                self.documents.append(one)
        if self.lost_after:
            self.lost_after -= 1
            raise AutoReconnect("connection closed")
        if errors:
            raise BulkWriteError({"writeErrors": errors})

    def find(self, query: dict[str, Any], fields: dict[str, int]) -> AsyncIterator[dict[str, Any]]:
        del fields
        wanted = query["_id"]["$in"]

        async def found() -> AsyncIterator[dict[str, Any]]:
            for one in self.documents:
                await asyncio.sleep(0)
                if one["_id"] in wanted:
                    yield one

        return found()


def doc(room: str, rev: int, sender: str = "ana") -> dict[str, Any]:
    return {"room": room, "rev": rev, "sender": sender}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_bulk, "APPEND_AGAIN_SECONDS", 0.001)


async def test_each_append_gets_its_own_outcome() -> None:
    collection = Collection()
    appends = Appends(lambda: collection)  # type: ignore[arg-type,return-value]
    await appends.insert(doc("a", 1))
    outcomes = await asyncio.gather(
        *(appends.insert(doc(room, 1)) for room in "abcabd"), return_exceptions=True
    )
    names = [type(outcome).__name__ for outcome in outcomes]
    assert names == [
        "ConflictError", "NoneType", "NoneType", "ConflictError", "ConflictError", "NoneType",
    ]  # fmt: skip
    assert len(collection.calls) <= 1 + mongo_bulk.APPEND_WRITERS


async def test_an_insert_whose_answer_was_lost_is_the_callers_own() -> None:
    """Finding 12: the repetition meets itself, which is not a conflict."""
    collection = Collection([{"_id": 0, **doc("taken", 1)}], lost_after=1)
    appends = Appends(lambda: collection)  # type: ignore[arg-type,return-value]
    outcomes = await asyncio.gather(
        *(appends.insert(doc(room, 1)) for room in ("a", "taken", "b")), return_exceptions=True
    )
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "NoneType", "ConflictError", "NoneType",
    ]  # fmt: skip
    assert len(collection.documents) == 3


async def test_only_what_failed_is_inserted_again() -> None:
    collection = Collection(fails={2})
    appends = Appends(lambda: collection)  # type: ignore[arg-type,return-value]
    await asyncio.gather(*(appends.insert(doc("a", rev)) for rev in (1, 2, 3)))
    assert sorted(one["rev"] for one in collection.documents) == [1, 2, 3]
    assert sum(collection.calls) == 4


async def test_a_store_that_stays_away_is_an_unknown_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mongo_bulk, "APPEND_SECONDS", 0.01)
    collection = Collection(lost_before=1_000_000)
    appends = Appends(lambda: collection)  # type: ignore[arg-type,return-value]
    with pytest.raises(StoreUnavailableError):
        await appends.insert(doc("a", 1))


async def test_too_many_waiting_appends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_bulk, "APPENDS_WAITING_MAX", 3)
    collection = Collection()
    appends = Appends(lambda: collection)  # type: ignore[arg-type,return-value]
    outcomes = await asyncio.gather(
        *(appends.insert(doc("a", rev)) for rev in range(1, 9)), return_exceptions=True
    )
    refused = sum(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)
    assert refused == len(outcomes) - 3
    assert len(collection.documents) == 3
    assert not any(isinstance(outcome, ConflictError) for outcome in outcomes)
