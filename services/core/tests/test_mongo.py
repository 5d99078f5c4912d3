"""Which errors of MongoDB mean "not now", and when a new login takes the old one's place."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, WriteError

from ashchat_core import credentials, mongo
from ashchat_core.credentials import Credentials
from ashchat_core.mongo import Mongo, unavailable
from ashchat_dev.waiting import beside, until

DEADLOCK = 16_908_292  # as FerretDB 2.7 answered when two bulk writes met


def bulk(*codes: int) -> BulkWriteError:
    return BulkWriteError({"writeErrors": [{"index": 0, "code": code} for code in codes]})


@pytest.mark.parametrize(
    ("error", "later"),
    [
        (WriteError("deadlock detected", DEADLOCK), True),
        (bulk(DEADLOCK), True),
        (bulk(DEADLOCK, 11000), False),
        (bulk(11000), False),
        (bulk(), False),
        (OperationFailure("write conflict", 112), True),
        (OperationFailure("bad value", 2), False),
        (DuplicateKeyError("there", 11000), False),
    ],
    ids=str,
)
def test_what_is_rolled_back_is_right_later_and_what_is_wrong_is_not(
    *, error: Exception, later: bool
) -> None:
    assert unavailable(error) is later


class Server:
    """Who may log in, and the clients there are."""

    def __init__(self, *logins: str) -> None:
        self.logins = set(logins)
        self.clients: list[Client] = []
        self.refused = asyncio.Event()

    def client(self, url: str, **_: object) -> "Client":
        self.clients.append(Client(self, urlsplit(url).username or ""))
        return self.clients[-1]


class Client:
    """pymongo's client, and its database."""

    def __init__(self, server: Server, login: str) -> None:
        self.server = server
        self.login = login
        self.closed = asyncio.Event()

    def get_default_database(self) -> "Client":
        return self

    async def list_collection_names(self) -> list[str]:
        await asyncio.sleep(0)
        if self.login not in self.server.logins:
            self.server.refused.set()
            raise OperationFailure("Authentication failed.", 18)
        return []

    async def close(self) -> None:
        self.closed.set()


class Site:
    """A Mongo, its server, and the file with its login."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server = server
        self.folder = folder
        self.credentials = Credentials(folder)
        self.give("a")
        self.mongo = Mongo(self.credentials)

    def give(self, login: str) -> None:
        """Lay down a login, whose revision is its name."""
        (self.folder / "mongodb.revision").write_text(login)
        (self.folder / "mongodb.uri").write_text(f"mongodb://{login}:hush@db.invalid/auth")

    def used(self) -> str:
        database: Any = self.mongo.database
        login: str = database.login
        return login

    def told(self) -> str | None:
        return self.credentials.in_use.get("mongodb")


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(mongo, "DRAIN_SECONDS", 0.02)
    monkeypatch.setattr(mongo, "SERVER_SELECTION_SECONDS", 0.001)
    monkeypatch.setattr(credentials, "POLL_SECONDS", 0.001)
    server = Server("a")
    monkeypatch.setattr(mongo, "AsyncMongoClient", server.client)
    site = Site(tmp_path, server)
    yield site
    await site.mongo.close()


async def test_a_new_login_that_is_refused_leaves_the_old_one_in_use(site: Site) -> None:
    await site.mongo.ping()
    site.give("b")
    with pytest.raises(OperationFailure):
        await site.mongo.swap()
    await site.mongo.ping()
    assert (site.used(), site.told()) == ("a", "a")
    assert [client.closed.is_set() for client in site.server.clients] == [False, True]


async def test_a_new_login_that_works_takes_the_old_ones_place(site: Site) -> None:
    await site.mongo.ping()
    site.give("b")
    site.server.logins.add("b")
    begun = asyncio.get_running_loop().time()
    await site.mongo.swap()
    assert (site.used(), site.told()) == ("b", "b")
    (old, new) = site.server.clients
    await asyncio.wait_for(old.closed.wait(), 1)
    # What it was doing could still end.
    assert asyncio.get_running_loop().time() - begun >= mongo.DRAIN_SECONDS
    assert not new.closed.is_set()


async def test_a_new_login_is_tried_until_it_works(site: Site) -> None:
    async with beside(site.mongo.watch()):
        await until(lambda: site.told() == "a", every=0.001)
        site.give("b")
        await asyncio.wait_for(site.server.refused.wait(), 1)
        assert (site.used(), site.told()) == ("a", "a")
        site.server.logins = {"b"}
        await until(lambda: site.told() == "b", every=0.001)
        assert site.used() == "b"


async def test_a_login_that_changes_before_the_first_one_is_proven_is_not_missed(
    site: Site,
) -> None:
    # Its client is there, and the server is not.
    site.server.logins = set()
    with pytest.raises(OperationFailure):
        await site.mongo.ping()
    site.give("b")
    site.server.logins = {"a", "b"}
    async with beside(site.mongo.watch()):
        await until(lambda: site.told() == "b", every=0.001)
        assert site.used() == "b"
