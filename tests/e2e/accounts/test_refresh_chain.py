"""A session's chain of refresh tokens, tested with auth's store on the cluster's database.

The store takes the time as an argument, so tests need not wait out the ten seconds of grace.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
import pytest_asyncio
from bson.codec_options import CodecOptions

from ashchat_auth.models import Session, TokenReusedError
from ashchat_auth.store.base import DELETED_AT_ONCE
from ashchat_auth.store.sessions import GRACE_SECONDS, SIBLINGS, MongoSessions
from ashchat_core.mongo import Mongo
from ashchat_e2e.backends import MongoAs

LIFETIME = timedelta(minutes=10)
THERE = "203.0.113.9"


@dataclass(frozen=True)
class Chain:
    """A new session."""

    store: MongoSessions
    session: Session
    first: str

    @property
    def now(self) -> datetime:
        """When the session began."""
        return self.session.created_at

    @property
    def in_time(self) -> datetime:
        """The last second in which a used token is accepted again."""
        return self.now + timedelta(seconds=GRACE_SECONDS)

    @property
    def too_late(self) -> datetime:
        return self.in_time + timedelta(seconds=1)

    async def use(self, token: str | None, at: datetime | None = None) -> str | None:
        """Use a token, by default when the session began."""
        assert token is not None
        now = at or self.now
        return await self.store.rotate(token, now=now, expires_at=now + LIFETIME, address=THERE)

    async def lives(self) -> bool:
        return await self.store.session(self.session.id, self.now) is not None


@pytest_asyncio.fixture(loop_scope="session")
async def chain(mongo_as: MongoAs) -> Chain:
    """Create a session without a user; the database deletes it after ten minutes."""
    # Times are timezone-aware, as auth reads them.
    aware: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
    database = (await mongo_as("auth")).with_options(aware)
    store = MongoSessions(cast("Mongo", SimpleNamespace(database=database)))
    # The current time, not that of the import: the database deletes what has expired.
    now = datetime.now(UTC).replace(microsecond=0)
    session = Session(
        id=uuid4().hex, user_id=uuid4().hex, device_hash="d", created_at=now, used_at=now
    )
    first = await store.add_session(session, expires_at=now + LIFETIME)
    return Chain(store, session, first)


async def test_each_token_is_good_once(chain: Chain) -> None:
    second = await chain.use(chain.first)
    third = await chain.use(second)
    assert len({chain.first, second, third}) == 3
    assert await chain.lives()


async def test_a_session_that_is_not_used_ends(chain: Chain) -> None:
    before, after = chain.now + timedelta(minutes=9), chain.now + timedelta(minutes=11)
    assert await chain.store.session(chain.session.id, before) is not None
    assert await chain.store.session(chain.session.id, after) is None
    await chain.use(chain.first, before)
    assert await chain.store.session(chain.session.id, after) is not None, (
        "a used session must not expire"
    )


async def test_an_unknown_token_is_rejected_and_ends_nothing(chain: Chain) -> None:
    assert await chain.use(f"{chain.session.id}.guessed") is None
    assert await chain.use("nobody.guessed") is None
    assert await chain.use(chain.first) is not None


async def test_a_lost_response_can_be_requested_again_within_ten_seconds(chain: Chain) -> None:
    assert await chain.use(chain.first) is not None
    again = await chain.use(chain.first, chain.in_time)
    assert await chain.use(again, chain.in_time) is not None
    assert await chain.lives()


async def test_reuse_after_the_grace_period_revokes_the_family(chain: Chain) -> None:
    second = await chain.use(chain.first)
    with pytest.raises(TokenReusedError):
        await chain.use(chain.first, chain.too_late)
    assert await chain.use(second) is None
    assert not await chain.lives()
    (revoked,) = await chain.store.revoked_of(chain.session.user_id)
    assert revoked.reused_from == THERE


@pytest.mark.parametrize("thief_is_first", [True, False])
async def test_theft_within_the_grace_period_revokes_the_family(
    chain: Chain, *, thief_is_first: bool
) -> None:
    owners, thiefs = await chain.use(chain.first), await chain.use(chain.first, chain.in_time)
    first, second = (thiefs, owners) if thief_is_first else (owners, thiefs)
    assert await chain.use(first, chain.in_time) is not None
    with pytest.raises(TokenReusedError):
        await chain.use(second, chain.in_time + timedelta(minutes=15))
    assert not await chain.lives()


async def test_concurrent_refreshes_with_one_token_all_succeed(chain: Chain) -> None:
    given = await asyncio.gather(*(chain.use(chain.first) for _ in range(SIBLINGS)))
    assert len(set(given)) == SIBLINGS
    assert None not in given
    assert await chain.use(chain.first, chain.in_time) is None, "more sibling tokens than allowed"
    assert await chain.lives()
    used = await asyncio.gather(*(chain.use(token, chain.in_time) for token in given))
    assert None not in used
    assert await chain.lives()


async def test_sessions_of_older_epochs_are_deleted_page_by_page_except_one(
    chain: Chain, mongo_as: MongoAs
) -> None:
    sessions = (await mongo_as("auth"))["sessions"]
    mine = {"user_id": chain.session.user_id}
    older = 2 * DELETED_AT_ONCE + 1
    found = await sessions.find_one(mine)
    assert found is not None
    copies = [{**found, "_id": uuid4().hex, "epoch": number % 2} for number in range(older)]
    copies += [{**found, "_id": uuid4().hex, "epoch": 2} for _ in range(3)]
    await sessions.insert_many(copies)
    pages = 1
    while not await chain.store.delete_ended(chain.session.user_id, below=2, but=chain.session.id):
        pages += 1
        assert pages <= 3
    assert pages == 3
    assert await sessions.count_documents(mine) == 3 + 1
    assert await chain.lives()
    assert await chain.store.delete_ended(chain.session.user_id)
    assert await sessions.count_documents(mine) == 0
