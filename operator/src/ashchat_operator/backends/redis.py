"""Redis: the access list of an instance, as a file to mount and on the live server.

The mounted file brings the users back after a restart; the live server is corrected by
ACL SETUSER and DELUSER. ACL LOAD is never used: a mounted Secret lags by up to a minute,
and loading the old file would undo what was just set.

Both are compared in the one form that Redis itself writes (ACL LIST), parsed here.
Documentation: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, Self

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ashchat_core import topology
from ashchat_core.redis import TlsConnection
from ashchat_operator.backends import connectivity
from ashchat_operator.backends.base import (
    Backend,
    BackendError,
    BackendResult,
    FeatureMissingError,
    Login,
    LoginRefusedError,
    NotReadyYetError,
    Reason,
    RefusedError,
    RightMissingError,
    UnreachableError,
    logins_at,
    require_version,
    with_provided_login,
)

MINIMUM_VERSION: Final = (7, 0)
"""The first in which a subcommand can be taken away (`-script|flush`)."""

TIMEOUT_S: Final = 5.0

PROBE_USER: Final = "probe"
"""May PING and nothing else, with any password: for the pod's own readiness probe."""

_COMMANDS: Final = (
    "-@all",
    "+@read",
    "+@write",
    "+@connection",
    "+@transaction",
    "+@scripting",
    "-@admin",
    "-@dangerous",
    # These look at the whole keyspace, past the key patterns.
    "-scan",
    "-randomkey",
    "-dbsize",
    # These belong to all users of the server.
    "-function",
    "-script|flush",
    "-script|kill",
)
"""What a service may call. Source: `ACL CAT`, and `ACL CAT dangerous`."""

_PUBSUB: Final = ("+@pubsub", "-pubsub")
"""Only for a service with channels of its own; PUBSUB would list everybody's."""


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """Where an instance is, and who we are there."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    owned: bool = True
    """The whole instance is AshChat's: `default` is switched off, `probe` is kept."""
    declare_users: bool = True
    """False: the services use this very login; users are somebody else's."""
    prefix: str = ""
    """Begins the names of users, keys and channels."""
    address: connectivity.Address | None = None
    """Of an instance that somebody else runs; None: ours."""


@dataclass(frozen=True, slots=True)
class AclUser:
    """One user as Redis lists it; sets where order means nothing, tuples where it does."""

    name: str
    enabled: bool
    commands: tuple[str, ...]
    keys: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    passwords: frozenset[str] = field(default=frozenset(), repr=False)
    """SHA-256 of each, in hex."""
    nopass: bool = False
    unknown: tuple[str, ...] = ()
    """What this parser does not know (selectors, for one): always a difference."""

    def rules(self) -> tuple[str, ...]:
        """Return the rules that make this user from nothing, in a stable order."""
        return (
            "on" if self.enabled else "off",
            *(("nopass",) if self.nopass else ()),
            *(f"#{digest}" for digest in sorted(self.passwords)),
            *(f"~{pattern}" for pattern in sorted(self.keys)),
            "resetchannels",
            *(f"&{pattern}" for pattern in sorted(self.channels)),
            *self.commands,
        )

    def line(self) -> str:
        """Return the line of an aclfile."""
        return " ".join(("user", self.name, *self.rules()))


def digest(password: str) -> str:
    """Return the only form in which Redis keeps a password."""
    return hashlib.sha256(password.encode()).hexdigest()


_LONG_FORMS: Final = {"allkeys": "~*", "allchannels": "&*", "allcommands": "+@all"}
_FLAGS: Final = frozenset(
    # The last three are the state a line begins with, or that is always so.
    {"on", "off", "nopass", "resetchannels", "resetkeys", "sanitize-payload"}
)


def parse_line(line: str) -> AclUser:
    """Parse a line of ACL LIST, or of an aclfile.

    Raises:
        ValueError: It is not such a line.
    """
    head, name, *rules = line.split()
    if head != "user":
        raise ValueError(f"not a user's line: it begins with {head!r}")
    by_sigil: dict[str, list[str]] = {sigil: [] for sigil in "#~&"}
    commands: list[str] = []
    flags: set[str] = set()
    unknown: list[str] = []
    for position, rule in enumerate(rules):
        if rule.startswith("("):  # a selector holds blanks; the rest of the line is selectors
            unknown += rules[position:]
            break
        rule = _LONG_FORMS.get(rule, rule)  # noqa: PLW2901
        if rule[0] in by_sigil:
            by_sigil[rule[0]].append(rule[1:])
        elif rule[0] in "+-":
            commands.append(rule)
        elif rule in _FLAGS:
            flags.add(rule)
        else:
            unknown.append(rule)
    return AclUser(
        name=name,
        enabled="on" in flags,
        commands=tuple(commands),
        keys=frozenset(by_sigil["~"]),
        channels=frozenset(by_sigil["&"]),
        passwords=frozenset(by_sigil["#"]),
        nopass="nopass" in flags,
        unknown=tuple(unknown),
    )


def default_user() -> AclUser:
    """Return the user `default` as it must be: without it off, nobody needs a password.

    It keeps every right, which nobody can use, since it is off and has no password: at a
    start Redis replays its append-only file as this user, and EXEC (every transaction and
    script in there) checks the rights. Without them what they wrote is lost.
    """
    return AclUser(
        "default",
        enabled=False,
        commands=("+@all",),
        keys=frozenset("*"),
        channels=frozenset("*"),
    )


def probe_user() -> AclUser:
    """Return the user of the readiness probe."""
    return AclUser(PROBE_USER, enabled=True, nopass=True, commands=("-@all", "+ping"))


def service_users(logins: Iterable[Login], *, cache: bool, prefix: str = "") -> tuple[AclUser, ...]:
    """Return the users of the services that have keys in this instance.

    Args:
        logins: All logins; those without a grant here are passed over.
        cache: True for the instance that may evict, False for the one that may not.
        prefix: Begins every key and channel.
    """
    grants = {grant.service: grant for grant in topology.REDIS_GRANTS if grant.cache is cache}
    backend = Backend.CACHE if cache else Backend.REDIS
    users = []
    for login in logins_at(backend, logins):
        grant = grants.get(login.service)
        if grant is None:
            continue
        users.append(
            AclUser(
                name=login.username,
                enabled=True,
                commands=(*_COMMANDS, *(_PUBSUB if grant.channels else ())),
                keys=frozenset(prefix + pattern for pattern in grant.keys),
                channels=frozenset(prefix + pattern for pattern in grant.channels),
                passwords=frozenset({digest(login.password)}),
            )
        )
    return tuple(users)


def render_aclfile(*, admin: tuple[str, str], logins: Iterable[Login], cache: bool) -> str:
    """Return the text of the instance's aclfile; it holds hashes, no password.

    Args:
        admin: Name and password of the administrator; `default` is refused as a name.
        logins: All logins.
        cache: Which instance, see `service_users`.

    Raises:
        ValueError: The administrator is called `default`, which is switched off.
    """
    name, password = admin
    if name == "default":
        raise ValueError("the Redis administrator may not be called default: that user is off")
    administrator = AclUser(
        name,
        enabled=True,
        commands=("+@all",),
        keys=frozenset("*"),
        channels=frozenset("*"),
        passwords=frozenset({digest(password)}),
    )
    users = (default_user(), administrator, probe_user(), *service_users(logins, cache=cache))
    return "".join(f"{user.line()}\n" for user in users)


class RedisAdmin(Protocol):
    """A Redis server as the reconcile sees it."""

    async def version(self) -> str:
        """Return the server's version."""

    async def users(self) -> dict[str, AclUser]:
        """Return all users by name."""

    async def set_user(self, user: AclUser) -> None:
        """Make a user exactly this, at once."""

    async def delete_user(self, name: str) -> None:
        """Delete a user; its connections end."""

    async def disconnect(self, name: str) -> None:
        """End the connections of a user."""

    async def may_use(self, key: str) -> None:
        """Check that this login may read a key and publish on a channel of that name."""


async def check_provided_login(
    client: RedisAdmin, username: str, keys: Iterable[str]
) -> BackendResult:
    """Check a server whose users are somebody else's; writes nothing.

    Args:
        client: The server.
        username: The login that every service uses.
        keys: One key of every service.

    Raises:
        BackendError: The server cannot be asked, or the login may not do what the services do.
    """
    version = await client.version()
    require_version("Redis", version, MINIMUM_VERSION, "its ACLs know no subcommands")
    for key in keys:
        await client.may_use(key)
    return with_provided_login(f"Redis {version} answers.", username, version)


async def reconcile(
    client: RedisAdmin,
    wanted: tuple[AclUser, ...],
    retired: tuple[str, ...] = (),
    *,
    write: bool = True,
) -> BackendResult:
    """Bring the live access list to what is wanted and read it back.

    A user of whom a password was taken away has its connections ended: Redis would let
    them live on. Other people's users are left alone.

    Args:
        client: The server.
        wanted: The users that are to be exactly so.
        retired: Names that are to be gone.
        write: False only reports what would be written.

    Raises:
        BackendError: The server cannot be asked, or refused a command.
    """
    version = await client.version()
    require_version("Redis", version, MINIMUM_VERSION, "its ACLs know no subcommands")
    there = await client.users()
    different = [user for user in wanted if there.get(user.name) != user]
    names = {user.name for user in wanted}
    gone = [name for name in retired if name in there and name not in names]
    changes = (
        *(f"{_verb(there.get(user.name), user)} user {user.name}" for user in different),
        *(f"deleted retired user {name}" for name in gone),
    )
    if not write and changes:
        return BackendResult(
            ready=False,
            reason=Reason.DRIFTED,
            message=f"Redis {version} differs in {len(changes)} points.",
            changes=changes,
            version=version,
        )
    for user in different:
        await client.set_user(user)
        before = there.get(user.name)
        if before is not None and (before.passwords - user.passwords or before.nopass):
            await client.disconnect(user.name)
    for name in gone:
        await client.delete_user(name)
    if changes:
        there = await client.users()
        for user in wanted:
            if there.get(user.name) != user:
                raise NotReadyYetError(
                    f"Redis took {len(changes)} changes, but user {user.name} still differs "
                    "when read back. Something else may be changing it."
                )
    return BackendResult(
        ready=True,
        reason=Reason.DECLARED,
        message=f"{len(wanted)} users of Redis {version} are as declared.",
        changes=changes,
        version=version,
    )


def _verb(before: AclUser | None, wanted: AclUser) -> str:
    if before is None:
        return "created"
    if before.passwords != wanted.passwords or before.nopass != wanted.nopass:
        return "set the password of"
    return "set the rights of"


def wanted_users(
    target: RedisTarget, logins: Iterable[Login], *, cache: bool
) -> tuple[AclUser, ...]:
    """Return what the live server is held to; the administrator is never among them."""
    services = service_users(logins, cache=cache, prefix=target.prefix)
    return (default_user(), probe_user(), *services) if target.owned else services


async def accepts(target: RedisTarget, login: Login) -> bool:
    """Tell whether a login works; what cannot be asked counts as yes."""
    own = replace(target, username=login.username, password=login.password)
    async with RedisClient(own) as client:
        try:
            await client.ping()
        except LoginRefusedError:
            return False
        except BackendError:
            return True
    return True


class RedisClient:
    """A Redis server by redis-py; `async with` closes its connections."""

    def __init__(self, target: RedisTarget) -> None:
        self._target = target
        pool = ConnectionPool(
            host=target.host,
            port=target.port,
            username=target.username,
            password=target.password,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # the reconcile comes again by itself
            client_name="ashchat-operator",
            max_connections=1,
            **_encryption(target),
        )
        self._redis = Redis.from_pool(pool)

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        await self._redis.aclose()

    async def version(self) -> str:
        """Return the server's version.

        Raises:
            BackendError: See `_call`.
        """
        info = await self._call("read its version", "INFO", "server")
        return str(info.get("redis_version", ""))

    async def users(self) -> dict[str, AclUser]:
        """Return all users by name."""
        lines = await self._call("read its users", "ACL", "LIST")
        users = [parse_line(str(line)) for line in lines]
        return {user.name: user for user in users}

    async def ping(self) -> None:
        """Ask for an answer that needs a login."""
        await self._call("ping", "PING")

    async def set_user(self, user: AclUser) -> None:
        """Make a user exactly this; Redis applies all the rules of one call at once."""
        await self._call(
            f"set user {user.name}", "ACL", "SETUSER", user.name, "reset", *user.rules()
        )

    async def delete_user(self, name: str) -> None:
        """Delete a user; its connections end."""
        await self._call(f"delete user {name}", "ACL", "DELUSER", name)

    async def disconnect(self, name: str) -> None:
        """End the connections of a user; they may log in again with what holds now."""
        await self._call(f"disconnect user {name}", "CLIENT", "KILL", "USER", name)

    async def may_use(self, key: str) -> None:
        """Check that this login may read a key and publish on a channel of that name.

        Nobody listens on the channel, so nobody hears of it.
        """
        await self._call(f"use keys like {key}", "EXISTS", key)
        await self._call(f"use channels like {key}", "PUBLISH", key, "")

    async def _call(self, says: str, *command: str) -> Any:
        """Send a command.

        Raises:
            UnreachableError: Nothing answers, or not in time.
            LoginRefusedError: Name or password are not accepted.
            RightMissingError: They are, but the user may not do this.
            FeatureMissingError: The server does not know the command (or its provider hides it).
            NotReadyYetError: The server is still loading its data.
            RefusedError: It refused the command.
        """
        where = f"Redis at {self._target.host}:{self._target.port}"
        try:
            # As words, so that a library's parsing of one server's answers stays out of it.
            return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except exceptions.BusyLoadingError as error:
            raise NotReadyYetError(f"{where} is still loading its data.") from error
        except exceptions.NoPermissionError as error:
            raise RightMissingError(self._lacks(where, says)) from error
        except exceptions.AuthenticationError as error:
            raise LoginRefusedError(
                f"{where} refuses the login of {self._target.username}. Look at its Secret."
            ) from error
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            raise UnreachableError(
                f"{where} does not answer ({type(error).__name__}). Is the pod running?"
            ) from error
        except exceptions.ResponseError as error:
            if str(error).lower().startswith(("unknown command", "unknown subcommand")):
                raise FeatureMissingError(
                    f"{where} has no command {command[0]}, which it takes to {says}. Where the "
                    "provider hides it, make the user there and set users: Given."
                ) from error
            raise RefusedError(f"{where} refused to {says} ({type(error).__name__}).") from error
        except exceptions.RedisError as error:
            # The server's text quotes a rule at most, and ours hold hashes only; still.
            raise RefusedError(f"{where} refused to {says} ({type(error).__name__}).") from error

    def _lacks(self, where: str, says: str) -> str:
        name, prefix = self._target.username, self._target.prefix
        if self._target.declare_users:
            return (
                f"{name} of {where} lacks the right to {says}. Grant it: ACL SETUSER {name} +acl "
                "+info +client|kill. Where the provider does not allow that, set users: Given."
            )
        return (
            f"{name} of {where} lacks the right to {says}. Grant it: ACL SETUSER {name} "
            f"~{prefix}* &{prefix}* {' '.join((*_COMMANDS, _PUBSUB[0]))} +info"
        )


def _encryption(target: RedisTarget) -> dict[str, Any]:
    """Return the library's arguments for TLS."""
    if target.address is None or target.address.ca is None:
        return {}
    connectivity.trust(target.address.ca)
    return {"connection_class": TlsConnection, "ssl_ca_data": target.address.ca or None}
