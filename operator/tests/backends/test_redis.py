"""Redis access lists: what is rendered and compared, and in which order it is applied."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service
from ashchat_operator.backends.base import Backend, Login, StartingError, VersionTooOldError
from ashchat_operator.backends.redis.desired import (
    AclUser,
    RedisTarget,
    digest,
    parse_line,
    render_aclfile,
    service_users,
    wanted_users,
)
from ashchat_operator.backends.redis.reconcile import reconcile

LOGINS = tuple(Login(service, f"{service}-a", f"secret-of-{service}") for service in Service)
TARGET = RedisTarget("127.0.0.1", 6379, "admin", "admin-secret")
WANTED = wanted_users(TARGET, LOGINS, cache=False)


class FakeRedis:
    """A server that stores users, and records the operations in order."""

    def __init__(self, *users: AclUser, version: str = "8.0.2") -> None:
        self.there = {user.name: user for user in users}
        self.answers_version = version
        self.done: list[str] = []
        self.forgets = False

    async def version(self) -> str:
        return self.answers_version

    async def users(self) -> dict[str, AclUser]:
        return dict(self.there)

    async def set_user(self, user: AclUser) -> None:
        self.done.append(f"set {user.name}")
        if not self.forgets:
            self.there[user.name] = user

    async def delete_user(self, name: str) -> None:
        self.done.append(f"delete {name}")
        del self.there[name]

    async def disconnect(self, name: str) -> None:
        self.done.append(f"disconnect {name}")

    async def may_use(self, key: str) -> None:
        self.done.append(f"use {key}")


def user(name: str) -> AclUser:
    return next(user for user in WANTED if user.name == name)


def test_the_file_holds_hashes_and_is_the_same_each_time() -> None:
    text = render_aclfile(admin=("admin", "admin-secret"), logins=LOGINS, cache=False)
    assert "secret" not in text
    again = render_aclfile(admin=("admin", "admin-secret"), logins=LOGINS[::-1], cache=False)
    assert text == again
    lines = text.splitlines()
    assert lines[0] == "user default off ~* resetchannels &* +@all"
    assert lines[1].startswith(f"user admin on #{digest('admin-secret')} ~* ")
    names = [line.split()[1] for line in lines]
    assert names == ["default", "admin", "probe", "auth-a", "chat-a", "email-a"]


def test_the_cache_instance_has_only_the_users_that_cache() -> None:
    text = render_aclfile(admin=("admin", "x"), logins=LOGINS, cache=True)
    assert [line.split()[1] for line in text.splitlines()] == [
        "default",
        "admin",
        "probe",
        "auth-a",
        "chat-a",
        "email-a",
        "translate-a",
    ]


def test_a_service_is_the_same_user_at_both_instances_which_may_be_one_server() -> None:
    durable, cache = (
        {user.name: user for user in service_users(LOGINS, cache=is_cache)}
        for is_cache in (False, True)
    )
    both = {*durable} & {*cache}
    assert both
    assert {name: durable[name] for name in both} == {name: cache[name] for name in both}


def test_the_administrator_must_not_be_the_disabled_user() -> None:
    with pytest.raises(ValueError, match="default"):
        render_aclfile(admin=("default", "x"), logins=LOGINS, cache=False)


def test_an_aclfile_round_trips() -> None:
    text = render_aclfile(admin=("admin", "x"), logins=LOGINS, cache=False)
    parsed = {x.name: x for x in map(parse_line, text.splitlines())}
    assert {name: parsed[name] for name in parsed if name != "admin"} == {x.name: x for x in WANTED}


def test_a_line_in_the_servers_format_is_the_same_user() -> None:
    # The format of Redis 8.0.2.
    line = (
        "user chat-a on sanitize-payload #" + digest("secret-of-chat") + " ~chat:* "
        "resetchannels &chat:* " + " ".join(user("chat-a").commands)
    )
    assert parse_line(line) == user("chat-a")


@pytest.mark.parametrize(
    "line",
    [
        "user chat-a on nopass ~* &* +@all (~x:* +get)",
        "user chat-a on allkeys allchannels allcommands (~x:* +get)",
    ],
)
def test_selectors_are_a_difference(line: str) -> None:
    parsed = parse_line(line)
    assert parsed.unknown == ("(~x:*", "+get)")
    assert parsed.keys == parsed.channels == frozenset("*")
    assert parsed.commands == ("+@all",)


def test_another_line_is_rejected() -> None:
    with pytest.raises(ValueError, match="not a user"):
        parse_line("requirepass x")


@given(
    st.builds(
        AclUser,
        name=st.just("a-user"),
        enabled=st.booleans(),
        nopass=st.booleans(),
        commands=st.tuples(st.sampled_from(["-@all", "+@all"]), st.just("+get")),
        keys=st.frozensets(st.sampled_from(["a:*", "b:*", "*"])),
        channels=st.frozensets(st.sampled_from(["a:*", "*"])),
        passwords=st.frozensets(st.sampled_from(["0" * 64, "1" * 64])),
    )
)
def test_any_user_round_trips_through_its_line(acl_user: AclUser) -> None:
    assert parse_line(acl_user.line()) == acl_user


async def test_a_server_in_order_is_not_written_to() -> None:
    fake = FakeRedis(*WANTED, replace(user("auth-a"), name="another-user"))
    result = await reconcile(fake, WANTED)
    assert (result.ready, result.reason, result.changes) == (True, Reason.DECLARED, ())
    assert fake.done == []


async def test_an_open_server_is_secured() -> None:
    fake = FakeRedis(
        AclUser(
            "default",
            enabled=True,
            nopass=True,
            commands=("+@all",),
            keys=frozenset("*"),
            channels=frozenset("*"),
        )
    )
    result = await reconcile(fake, WANTED)
    assert result.ready
    # Clients that connected without a password are disconnected.
    assert fake.done[:2] == ["set default", "disconnect default"]
    assert set(fake.there) == {"default", "probe", "auth-a", "chat-a", "email-a"}


async def test_widened_rights_are_reset_without_disconnecting() -> None:
    fake = FakeRedis(*(x for x in WANTED if x.name != "chat-a"))
    fake.there["chat-a"] = replace(user("chat-a"), keys=frozenset("*"))
    result = await reconcile(fake, WANTED)
    assert result.changes == ("set the rights of user chat-a",)
    assert fake.done == ["set chat-a"]


async def test_clients_with_a_removed_password_are_disconnected() -> None:
    fake = FakeRedis(*WANTED)
    old = user("chat-a")
    fake.there["chat-a"] = replace(old, passwords=old.passwords | {digest("old")})
    result = await reconcile(fake, WANTED)
    assert result.changes == ("set the password of user chat-a",)
    assert fake.done == ["set chat-a", "disconnect chat-a"]


async def test_an_added_password_disconnects_no_client() -> None:
    fake = FakeRedis(*WANTED)
    fake.there["chat-a"] = replace(user("chat-a"), passwords=frozenset())
    await reconcile(fake, WANTED)
    assert fake.done == ["set chat-a"]


async def test_a_retired_user_is_deleted_and_a_current_one_never() -> None:
    fake = FakeRedis(*WANTED, replace(user("chat-a"), name="chat-0"))
    result = await reconcile(fake, WANTED, ("chat-0", "chat-a", "nobody"))
    assert result.changes == ("deleted retired user chat-0",)
    assert fake.done == ["delete chat-0"]


async def test_a_dry_run_writes_nothing() -> None:
    fake = FakeRedis()
    result = await reconcile(fake, WANTED, write=False)
    assert (result.ready, result.reason) == (False, Reason.DRIFTED)
    assert "created user chat-a" in result.changes
    assert fake.done == []


async def test_a_write_that_does_not_persist_is_not_reported_as_ready() -> None:
    fake = FakeRedis()
    fake.forgets = True
    with pytest.raises(StartingError, match="still differs"):
        await reconcile(fake, WANTED)


async def test_an_old_server_is_rejected() -> None:
    with pytest.raises(VersionTooOldError, match="too old"):
        await reconcile(FakeRedis(version="6.2.1"), WANTED)


def test_the_default_user_of_an_external_server_is_left_alone() -> None:
    shared = replace(TARGET, owned=False)
    names = [x.name for x in wanted_users(shared, LOGINS, cache=False)]
    assert names == ["auth-a", "chat-a", "email-a"]


def test_a_login_for_other_backends_is_skipped() -> None:
    only = (Login(Service.CHAT, "chat-a", "x", frozenset({Backend.RABBITMQ})),)
    assert service_users(only, cache=False) == ()
