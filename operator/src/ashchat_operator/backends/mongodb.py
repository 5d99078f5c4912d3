"""MongoDB (or FerretDB): makes the services' users, each with rights on its own database.

A password is verified by logging in with it, so that a look writes nothing. FerretDB keeps
its users as PostgreSQL roles and knows no rights per database: there the users are separate
and the result says that least privilege is not enforced.

Commands: https://www.mongodb.com/docs/manual/reference/command/nav-user-management
"""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, Self

from pymongo import AsyncMongoClient
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from ashchat_core import topology
from ashchat_operator.backends import connectivity
from ashchat_operator.backends.base import (
    Backend,
    BackendResult,
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

MINIMUM_VERSION: Final = (6, 0)
"""The oldest that PyMongo 4.20 is not about to drop; FerretDB 2 calls itself 7.0."""

TIMEOUT_MS: Final = 5_000
"""For finding the server and for one command."""

_AUTHENTICATION_FAILED: Final = 18
_NOT_ALLOWED: Final = frozenset({13, 59, 8000})
"""Unauthorized; CommandNotFound and AtlasError, of providers that hide the commands for users."""
_FULL: Final = "UserCountLimitExceeded"
"""Told by its name: FerretDB gives it the code of AtlasError."""
_NOT_STARTED_YET: Final = frozenset({"57P03"})  # PostgreSQL's cannot_connect_now, by FerretDB


@dataclass(frozen=True, slots=True)
class MongoDBTarget:
    """Where MongoDB is, and who we are there (a user administrator)."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    auth_source: str = "admin"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """More keyword arguments of the client's, for example `tls`."""
    databases: Mapping[topology.Service, str] = field(
        default_factory=lambda: topology.MONGODB_DATABASES
    )
    declare_users: bool = True
    """False: the services use this very login; users are somebody else's."""
    prefix: str = ""
    """Begins the names of users (and, already in `databases`, of the databases)."""
    address: connectivity.Address | None = None
    """Of a server that somebody else runs (`host` is its URI then); None: ours."""


@dataclass(frozen=True, slots=True)
class MongoDBUser:
    """A user that is to be there, and the one database it may read and write."""

    username: str
    database: str
    password: str = field(repr=False)

    @property
    def roles(self) -> frozenset[tuple[str, str]]:
        """Return (role, database) pairs."""
        return frozenset({("readWrite", self.database)})


def desired_users(
    logins: Iterable[Login], databases: Mapping[topology.Service, str]
) -> tuple[MongoDBUser, ...]:
    """Return a user for each login whose service owns a database."""
    return tuple(
        MongoDBUser(login.username, databases[login.service], login.password)
        for login in logins_at(Backend.MONGODB, logins)
        if login.service in databases
    )


@dataclass(frozen=True, slots=True)
class Server:
    """What answered: the version it claims, and whether it is FerretDB."""

    version: str
    ferretdb: bool

    @property
    def name(self) -> str:
        """Return the product's name and version."""
        return f"{'FerretDB' if self.ferretdb else 'MongoDB'} {self.version}"


class MongoDBAdmin(Protocol):
    """A database server as the reconcile sees it."""

    async def server(self) -> Server:
        """Return what answered."""

    async def users(self) -> dict[str, frozenset[tuple[str, str]]]:
        """Return all users with their (role, database) pairs."""

    async def accepts(self, username: str, password: str) -> bool:
        """Tell whether this login works now."""

    async def create(self, user: MongoDBUser) -> None:
        """Make a user."""

    async def set_password(self, user: MongoDBUser) -> None:
        """Change a user's password."""

    async def set_roles(self, user: MongoDBUser) -> None:
        """Replace a user's roles."""

    async def drop(self, username: str) -> None:
        """Delete a user."""

    async def may_use(self, database: str) -> None:
        """Check that this login may read and write a database."""


async def check_provided_login(
    client: MongoDBAdmin, username: str, databases: Iterable[str]
) -> BackendResult:
    """Check a server whose users are somebody else's; writes nothing.

    Args:
        client: The server.
        username: The login that every service uses.
        databases: The databases of the services.

    Raises:
        BackendError: The server cannot be asked, or the login may not do what the services do.
    """
    server = await client.server()
    if not server.ferretdb:
        require_version("MongoDB", server.version, MINIMUM_VERSION, "the driver needs more")
    for name in databases:
        await client.may_use(name)
    return with_provided_login(f"{server.name} answers.", username, server.version)


@dataclass(frozen=True, slots=True)
class Difference:
    """What is to be done about one user."""

    verb: str  # create, password, roles, drop
    username: str
    says: str
    user: MongoDBUser | None = None


async def compare(
    client: MongoDBAdmin,
    wanted: Iterable[MongoDBUser],
    retired: Iterable[str],
    *,
    roles_enforced: bool,
) -> list[Difference]:
    """Compare users, roles and passwords with what is wanted; writes nothing."""
    there = await client.users()
    result: list[Difference] = []
    names = set()
    for user in wanted:
        names.add(user.username)
        name = user.username
        if name not in there:
            result.append(Difference("create", name, f"created user {name}", user))
            continue
        if roles_enforced and there[name] != user.roles:
            result.append(Difference("roles", name, f"set the roles of user {name}", user))
        if not await client.accepts(name, user.password):
            result.append(Difference("password", name, f"set the password of user {name}", user))
    result += [
        Difference("drop", name, f"deleted retired user {name}")
        for name in retired
        if name in there and name not in names
    ]
    return result


async def _carry_out(client: MongoDBAdmin, difference: Difference) -> None:
    user = difference.user
    if user is None:
        await client.drop(difference.username)
    elif difference.verb == "create":
        await client.create(user)
    elif difference.verb == "roles":
        await client.set_roles(user)
    else:
        await client.set_password(user)


async def reconcile(
    client: MongoDBAdmin,
    wanted: tuple[MongoDBUser, ...],
    retired: tuple[str, ...] = (),
    *,
    write: bool = True,
) -> BackendResult:
    """Bring the users to what is wanted and read them back.

    Args:
        client: The server.
        wanted: The users that are to be there.
        retired: Names that are to be gone.
        write: False only reports what would be written.

    Raises:
        BackendError: The server cannot be asked, or refused a command.
    """
    server = await client.server()
    if not server.ferretdb:
        require_version("MongoDB", server.version, MINIMUM_VERSION, "the driver needs more")
    enforced = not server.ferretdb
    todo = await compare(client, wanted, retired, roles_enforced=enforced)
    changes = tuple(difference.says for difference in todo)
    if not write and changes:
        return BackendResult(
            ready=False,
            reason=Reason.DRIFTED,
            message=f"{server.name} differs in {len(changes)} points.",
            changes=changes,
            least_privilege=enforced,
            version=server.version,
        )
    for difference in todo:
        await _carry_out(client, difference)
    if todo:
        still = await compare(client, wanted, retired, roles_enforced=enforced)
        if still:
            raise NotReadyYetError(
                f"{server.name} took {len(changes)} changes, but still differs when read back: "
                f"{still[0].says}, for one. Something else may be changing it."
            )
    are = f"{len(wanted)} users can log in to {server.name}"
    if enforced:
        message = f"{are}, each with rights on its own database only."
    else:
        message = (
            f"{are}. FerretDB has no rights per database: each of them can read and write all. "
            "Choose the engine MongoDB where that matters."
        )
    return BackendResult(
        ready=True,
        reason=Reason.DECLARED if enforced else Reason.LEAST_PRIVILEGE_NOT_ENFORCED,
        message=message,
        changes=changes,
        least_privilege=enforced,
        version=server.version,
    )


class MongoClient:
    """A MongoDB server by PyMongo; `async with` closes its connections."""

    def __init__(self, target: MongoDBTarget) -> None:
        self._target = target
        self._client = self._connect(target.username, target.password, target.auth_source)

    def _connect(
        self, username: str, password: str, auth_source: str
    ) -> AsyncMongoClient[dict[str, Any]]:
        return AsyncMongoClient(
            self._target.host,
            self._target.port,
            username=username,
            password=password,
            authSource=auth_source,
            appname="ashchat-operator",
            serverSelectionTimeoutMS=TIMEOUT_MS,
            connectTimeoutMS=TIMEOUT_MS,
            socketTimeoutMS=TIMEOUT_MS,
            maxPoolSize=1,
            **_authority(self._target),
            **self._target.options,
        )

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        await self._client.close()

    async def server(self) -> Server:
        """Ask buildInfo; FerretDB adds a field of its own.

        Raises:
            BackendError: See `_command`.
        """
        info = await self._command({"buildInfo": 1}, "read its version")
        ferretdb = info.get("ferretdb")
        if isinstance(ferretdb, dict):
            return Server(str(ferretdb.get("version", "")).removeprefix("v"), ferretdb=True)
        return Server(str(info.get("version", "")), ferretdb=False)

    async def users(self) -> dict[str, frozenset[tuple[str, str]]]:
        """Return all users of the database admin with their (role, database) pairs."""
        info = await self._command({"usersInfo": 1}, "read its users")
        return {
            str(user["user"]): frozenset(
                (str(role["role"]), str(role["db"])) for role in user.get("roles", ())
            )
            for user in info.get("users", ())  # FerretDB leaves an empty list out
        }

    async def accepts(self, username: str, password: str) -> bool:
        """Tell whether this login works now.

        Raises:
            BackendError: It could not be tried.
        """
        client = self._connect(username, password, "admin")
        try:
            # The driver logs in when it opens the connection for the first command.
            await client.admin.command("ping")
        except OperationFailure as error:
            if error.code == _AUTHENTICATION_FAILED:
                return False
            raise self._translated(error, f"log in {username}") from error
        except PyMongoError as error:
            raise self._translated(error, f"log in {username}") from error
        finally:
            await client.close()
        return True

    async def create(self, user: MongoDBUser) -> None:
        """Make a user in the database admin (FerretDB has them nowhere else)."""
        command = {"createUser": user.username, "pwd": user.password, "roles": _roles(user)}
        await self._command(command, f"create user {user.username}")

    async def set_password(self, user: MongoDBUser) -> None:
        """Change a user's password; its open connections stay."""
        command = {"updateUser": user.username, "pwd": user.password}
        await self._command(command, f"set the password of user {user.username}")

    async def set_roles(self, user: MongoDBUser) -> None:
        """Replace a user's roles; open connections follow."""
        command = {"updateUser": user.username, "roles": _roles(user)}
        await self._command(command, f"set the roles of user {user.username}")

    async def drop(self, username: str) -> None:
        """Delete a user."""
        await self._command({"dropUser": username}, f"delete user {username}")

    async def may_use(self, database: str) -> None:
        """Check that this login may read and write a database.

        Raises:
            RightMissingError: It may not.
            BackendError: See `_command`.
        """
        asked = {"connectionStatus": 1, "showPrivileges": True}
        status = await self._command(asked, "read its own rights")
        privileges = status.get("authInfo", {}).get("authenticatedUserPrivileges", [])
        if not _sufficient(privileges, database):
            name = self._target.username
            raise RightMissingError(
                f"{name} of {self._where} lacks the right to read and write {database}. Grant it: "
                f'db.grantRolesToUser("{name}", [{{role: "readWrite", db: "{database}"}}])'
            )

    async def _command(self, command: dict[str, Any], says: str) -> dict[str, Any]:
        """Run a command on the database admin.

        Raises:
            UnreachableError: Nothing answers, or not in time.
            LoginRefusedError: The admin's name or password are not accepted.
            RightMissingError: They are, but the user may not do this.
            NotReadyYetError: The server is still starting.
            RefusedError: It refused the command.
        """
        try:
            return await self._client.admin.command(command)
        except PyMongoError as error:
            raise self._translated(error, says) from error

    @property
    def _where(self) -> str:
        address = self._target.address
        return f"MongoDB at {address or f'{self._target.host}:{self._target.port}'}"

    def _translated(self, error: PyMongoError, says: str) -> Exception:
        """Return our exception for the driver's; the driver's text may quote a command."""
        where = self._where
        if isinstance(error, OperationFailure):
            return self._refusal(error, says)
        if isinstance(error, ServerSelectionTimeoutError | ConnectionFailure):
            return UnreachableError(
                f"{where} does not answer ({type(error).__name__}). Is the pod running?"
            )
        if isinstance(error, ConfigurationError) and self._target.host.startswith("mongodb+srv"):
            return UnreachableError(
                f"the name of {where} has no SRV records (DNS). Is it written right, and known "
                "inside the cluster?"
            )
        if isinstance(error, ConfigurationError):
            return RefusedError(f"{where}: the driver refuses its settings.")
        return RefusedError(f"{where} refused to {says} ({type(error).__name__}).")

    def _refusal(self, error: OperationFailure, says: str) -> Exception:
        where, name = self._where, self._target.username
        if error.code == _AUTHENTICATION_FAILED:
            return LoginRefusedError(f"{where} refuses the login of {name}. Look at its Secret.")
        code = (error.details or {}).get("codeName", error.code)
        if code == _FULL:
            return RefusedError(
                f"{where} has as many users as it can hold, so it refused to {says} ({code}). "
                "Take another server, or set users: Given."
            )
        if error.code in _NOT_ALLOWED:
            return RightMissingError(
                f"{name} of {where} lacks the right to {says} ({code}). Grant it: "
                f'db.grantRolesToUser("{name}", ["userAdminAnyDatabase"]). Where the provider '
                "does not allow that, set users: Given."
            )
        if any(state in str(error) for state in _NOT_STARTED_YET):
            return NotReadyYetError(f"{where} is still starting.")
        return RefusedError(f"{where} refused to {says} ({code}).")


def _roles(user: MongoDBUser) -> list[dict[str, str]]:
    return [{"role": role, "db": database} for role, database in sorted(user.roles)]


def _sufficient(privileges: Iterable[Mapping[str, Any]], database: str) -> bool:
    """Tell whether privileges let somebody read and write a database.

    FerretDB tells of none, and knows no rights per database.
    https://www.mongodb.com/docs/manual/reference/command/connectionStatus/
    """
    found = list(privileges)
    actions: set[str] = set()
    for one in found:
        resource = one.get("resource", {})
        names = {"", database}
        here = resource.get("db") in names and not resource.get("collection")
        if here or resource.get("anyResource"):
            actions |= set(one.get("actions", ()))
    return not found or {"find", "insert", "update", "remove", "createIndex"} <= actions


def _authority(target: MongoDBTarget) -> dict[str, Any]:
    """Return the driver's argument for the authority, which it takes as a file only."""
    if target.address is None or not target.address.ca:
        return {}
    ca = target.address.ca
    connectivity.trust(ca)
    folder = Path(tempfile.gettempdir()) / "ashchat-authorities"
    folder.mkdir(exist_ok=True, mode=0o700)
    path = folder / f"{sha256(ca.encode()).hexdigest()}.pem"
    if not path.exists():
        path.write_text(ca, encoding="ascii")
    return {"tlsCAFile": str(path)}
