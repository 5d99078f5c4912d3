"""MongoDB's users: what is compared, and what is written."""

from collections.abc import Iterable

import pytest
from pymongo.errors import OperationFailure

from ashchat_core.api.reasons import Reason
from ashchat_core.topology import MONGODB_DATABASES, Service
from ashchat_operator.backends.base import (
    Login,
    LoginRefusedError,
    PermissionMissingError,
    RefusedError,
    StartingError,
    VersionTooOldError,
)
from ashchat_operator.backends.mongodb.client import MongoDBClient
from ashchat_operator.backends.mongodb.desired import (
    MongoDBTarget,
    MongoDBUser,
    ServerInfo,
    desired_users,
)
from ashchat_operator.backends.mongodb.reconcile import reconcile

LOGINS = tuple(Login(service, f"{service}-a", f"secret-of-{service}") for service in Service)
WANTED = desired_users(LOGINS, MONGODB_DATABASES)
MONGODB = ServerInfo("8.0.29", ferretdb=False)
FERRETDB = ServerInfo("2.7.0", ferretdb=True)


class FakeDatabase:
    """A server that stores users. Its results about roles differ for FerretDB."""

    def __init__(self, server: ServerInfo, users: Iterable[MongoDBUser] = ()) -> None:
        self.answers_server = server
        self.there = {
            user.username: (user.password, user.roles if not server.ferretdb else frozenset())
            for user in users
        }
        self.done: list[str] = []
        self.forgets = False

    async def server(self) -> ServerInfo:
        return self.answers_server

    async def users(self) -> dict[str, frozenset[tuple[str, str]]]:
        return {name: roles for name, (_, roles) in self.there.items()}

    async def accepts(self, username: str, password: str) -> bool:
        return self.there[username][0] == password

    async def create(self, user: MongoDBUser) -> None:
        self.done.append(f"create {user.username}")
        if not self.forgets:
            self.there[user.username] = (user.password, user.roles)

    async def set_password(self, user: MongoDBUser) -> None:
        self.done.append(f"password {user.username}")
        self.there[user.username] = (user.password, self.there[user.username][1])

    async def set_roles(self, user: MongoDBUser) -> None:
        self.done.append(f"roles {user.username}")
        self.there[user.username] = (self.there[user.username][0], user.roles)

    async def drop(self, username: str) -> None:
        self.done.append(f"drop {username}")
        del self.there[username]

    async def may_use(self, database: str) -> None:
        self.done.append(f"use {database}")


def test_only_services_with_a_database_get_a_user() -> None:
    assert [(user.username, user.database) for user in WANTED] == [
        ("auth-a", "auth"),
        ("chat-a", "chat"),
    ]
    assert "secret-of" not in repr(WANTED)


@pytest.mark.parametrize(
    ("server", "reason", "least"),
    [
        (MONGODB, Reason.DECLARED, True),
        (FERRETDB, Reason.LEAST_PRIVILEGE_NOT_ENFORCED, False),
    ],
)
async def test_users_are_created_once_and_then_not_written(
    server: ServerInfo,
    reason: Reason,
    least: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    fake = FakeDatabase(server)
    result = await reconcile(fake, WANTED)
    assert (result.ready, result.reason, result.least_privilege) == (True, reason, least)
    assert fake.done == ["create auth-a", "create chat-a"]
    fake.done.clear()
    assert (await reconcile(fake, WANTED)).changes == ()
    assert fake.done == []


async def test_a_password_is_set_only_where_the_login_fails() -> None:
    fake = FakeDatabase(FERRETDB, WANTED)
    fake.there["chat-a"] = ("guessed", frozenset())
    result = await reconcile(fake, WANTED)
    assert result.changes == ("set the password of user chat-a",)
    assert fake.done == ["password chat-a"]


async def test_widened_roles_are_reset_where_the_server_enforces_them() -> None:
    everything = frozenset({("root", "admin")})
    for server, expected in ((MONGODB, ["roles chat-a"]), (FERRETDB, [])):
        fake = FakeDatabase(server, WANTED)
        fake.there["chat-a"] = (fake.there["chat-a"][0], everything)
        await reconcile(fake, WANTED)
        assert fake.done == expected


async def test_a_retired_user_is_dropped_and_a_current_one_never() -> None:
    old = MongoDBUser("chat-0", "chat", "x")
    fake = FakeDatabase(MONGODB, (*WANTED, old))
    result = await reconcile(fake, WANTED, ("chat-0", "chat-a", "nobody"))
    assert result.changes == ("deleted retired user chat-0",)
    assert fake.done == ["drop chat-0"]


async def test_a_dry_run_writes_nothing() -> None:
    fake = FakeDatabase(MONGODB)
    result = await reconcile(fake, WANTED, write=False)
    assert (result.ready, result.reason) == (False, Reason.DRIFTED)
    assert fake.done == []


async def test_a_write_that_does_not_persist_is_not_reported_as_ready() -> None:
    fake = FakeDatabase(MONGODB)
    fake.forgets = True
    with pytest.raises(StartingError, match="still differs"):
        await reconcile(fake, WANTED)


async def test_an_old_server_is_rejected() -> None:
    with pytest.raises(VersionTooOldError, match="too old"):
        await reconcile(FakeDatabase(ServerInfo("4.4.1", ferretdb=False)), WANTED)


@pytest.mark.parametrize(
    ("code", "name", "kind", "word"),
    [
        (13, "Unauthorized", PermissionMissingError, "lacks the permission"),
        (8000, "AtlasError", PermissionMissingError, "set users: Provided"),
        # FerretDB's error, with the code of AtlasError.
        (8000, "UserCountLimitExceeded", RefusedError, "its maximum number of users"),
        (18, "AuthenticationFailed", LoginRefusedError, "refuses the login"),
    ],
)
async def test_a_refusal_is_reported_with_what_to_do(
    code: int, name: str, kind: type[Exception], word: str
) -> None:
    client = MongoDBClient(MongoDBTarget("db.example.org", 27017, "boss", "secret-word"))
    refused = OperationFailure("no", code, {"codeName": name})
    found = client._refusal(refused, "create user a")
    assert type(found) is kind
    assert word in str(found)
    assert "secret-word" not in str(found)
