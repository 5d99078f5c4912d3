"""Counts from the index of mentions equal a recount of the log.

The index is a list here; tests/e2e/chat/test_groups.py queries the real one.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashchat_chat.adapters import mongo_mentions
from ashchat_chat.rooms.events import ALL_MEMBERS, AnyEvent
from chat_groups import party
from chat_logs import USERS, logs
from chat_world import draft, mentions_of


def indexed(user: str, log: Sequence[AnyEvent], after: int) -> int:
    """Return the count that the documents of a log give."""
    documents: list[dict[str, Any]] = [
        {**event.model_dump(exclude_none=True), **fields}
        for event in log
        if (fields := mongo_mentions.fields(event))
        and not {user, ALL_MEMBERS}.isdisjoint(fields["mention_users"])
        and fields["mention_n"] > after
    ]
    room = log[0].room
    assert mongo_mentions.count(user, documents).keys() <= {room}
    return mongo_mentions.count(user, documents).get(room, 0)


@given(logs(), st.sampled_from(USERS), st.integers(0, 5))
def test_a_count_from_the_index_equals_a_recount(
    log: list[AnyEvent], user: str, after: int
) -> None:
    purged = {event.rev: event.purged() for event in log}
    deleted = {event.about for event in log if event.kind == "delete"}
    stored = [(event.message_rev in deleted and purged[event.rev]) or event for event in log]
    assert indexed(user, stored, after) == mentions_of(user, log, after)


@pytest.mark.parametrize("pods", [1, 2])
async def test_concurrent_edits_leave_the_mentions_of_the_last_one(
    monkeypatch: pytest.MonkeyPatch, pods: int
) -> None:
    async with party(monkeypatch) as it:
        sent, _ = await it.pods[0].messages.send(it.room, "ana", draft("0", "@all"))
        texts = ("@ben_x", "@cleo_x", "nobody", "@all", "@ben_x @cleo_x", "@cleo_x")
        edits = (
            it.pods[at % pods].messages.edit(it.room, "ana", sent.rev, draft(str(at + 1), text))
            for at, text in enumerate(texts)
        )
        await asyncio.gather(*edits)
        log = it.it.store.events[it.room]
        for user in ("ben", "cleo"):
            for end in range(2, len(log) + 1):
                assert indexed(user, log[:end], 0) == mentions_of(user, log[:end], 0)
