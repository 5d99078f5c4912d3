"""A MongoDB server by PyMongo, as its administrator sees it.

Commands: https://www.mongodb.com/docs/manual/reference/command/nav-user-management
"""

import tempfile
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

from pymongo import AsyncMongoClient
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from ashchat_operator.backends import connectivity
from ashchat_operator.backends.base import (
    BackendError,
    Login,
    LoginRefusedError,
    PermissionMissingError,
    RefusedError,
    StartingError,
    UnreachableError,
)
from ashchat_operator.backends.mongodb.desired import MongoDBTarget, MongoDBUser, ServerInfo

TIMEOUT_MS: Final = 5_000
"""Milliseconds for finding the server, and for one command."""

_AUTHENTICATION_FAILED: Final = 18

_NOT_ALLOWED: Final = frozenset({13, 59, 8000})
"""Unauthorized; CommandNotFound and AtlasError, from providers that disable user commands."""

_FULL: Final = "UserCountLimitExceeded"
"""Identified by its name, because FerretDB gives it the code of AtlasError."""

_NOT_STARTED_YET: Final = frozenset({"57P03"})  # PostgreSQL's cannot_connect_now, by FerretDB


class MongoDBClient:
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

    async def server(self) -> ServerInfo:
        """Read buildInfo, to which FerretDB adds a field.

        Raises:
            BackendError: See `_command`.
        """
        info = await self._command({"buildInfo": 1}, "read its version")
        ferretdb = info.get("ferretdb")
        if isinstance(ferretdb, dict):
            return ServerInfo(str(ferretdb.get("version", "")).removeprefix("v"), ferretdb=True)
        return ServerInfo(str(info.get("version", "")), ferretdb=False)

    async def users(self) -> dict[str, frozenset[tuple[str, str]]]:
        """Return all users of the database admin with their (role, database) pairs."""
        info = await self._command({"usersInfo": 1}, "read its users")
        return {
            str(user["user"]): frozenset(
                (str(role["role"]), str(role["db"])) for role in user.get("roles", ())
            )
            for user in info.get("users", ())  # FerretDB omits an empty list
        }

    async def accepts(self, username: str, password: str) -> bool:
        """Return whether this login works now.

        Raises:
            BackendError: It could not be tried.
        """
        client = self._connect(username, password, "admin")
        try:
            # The driver logs in when it opens the connection, for the first command.
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
        """Create a user in the database admin, the only place where FerretDB has users."""
        command = {"createUser": user.username, "pwd": user.password, "roles": _roles(user)}
        await self._command(command, f"create user {user.username}")

    async def set_password(self, user: MongoDBUser) -> None:
        """Change the password of a user; its open connections stay."""
        command = {"updateUser": user.username, "pwd": user.password}
        await self._command(command, f"set the password of user {user.username}")

    async def set_roles(self, user: MongoDBUser) -> None:
        """Replace the roles of a user, also for its open connections."""
        command = {"updateUser": user.username, "roles": _roles(user)}
        await self._command(command, f"set the roles of user {user.username}")

    async def drop(self, username: str) -> None:
        """Delete a user."""
        await self._command({"dropUser": username}, f"delete user {username}")

    async def may_use(self, database: str) -> None:
        """Check that this login may read and write a database.

        Raises:
            PermissionMissingError: It may not read or write it.
            BackendError: See `_command`.
        """
        asked = {"connectionStatus": 1, "showPrivileges": True}
        status = await self._command(asked, "read its own rights")
        privileges = status.get("authInfo", {}).get("authenticatedUserPrivileges", [])
        if not _sufficient(privileges, database):
            name = self._target.username
            raise PermissionMissingError(
                f"{name} of {self._where} lacks the permission to read and write {database}. Grant "
                f'it: db.grantRolesToUser("{name}", [{{role: "readWrite", db: "{database}"}}])'
            )

    async def _command(self, command: dict[str, Any], purpose: str) -> dict[str, Any]:
        """Run a command on the database admin.

        Raises:
            UnreachableError: The server does not answer in time.
            LoginRefusedError: The login of the administrator is not accepted.
            PermissionMissingError: The login works, but lacks a permission.
            StartingError: The server is still starting.
            RefusedError: The server rejected the command.
        """
        try:
            return await self._client.admin.command(command)
        except PyMongoError as error:
            raise self._translated(error, purpose) from error

    @property
    def _where(self) -> str:
        address = self._target.address
        return f"MongoDB at {address or f'{self._target.host}:{self._target.port}'}"

    def _translated(self, error: PyMongoError, purpose: str) -> Exception:
        """Return our exception for that of the driver, whose text may quote a command."""
        where = self._where
        if isinstance(error, OperationFailure):
            return self._refusal(error, purpose)
        if isinstance(error, ServerSelectionTimeoutError | ConnectionFailure):
            return UnreachableError(
                f"{where} does not answer ({type(error).__name__}). Check that the pod is running."
            )
        if isinstance(error, ConfigurationError) and self._target.host.startswith("mongodb+srv"):
            return UnreachableError(
                f"the name of {where} has no SRV records (DNS). Check that it is correct and known "
                "inside the cluster."
            )
        if isinstance(error, ConfigurationError):
            return RefusedError(f"{where}: the driver rejects its settings.")
        return RefusedError(f"{where} refused to {purpose} ({type(error).__name__}).")

    def _refusal(self, error: OperationFailure, purpose: str) -> Exception:
        where, name = self._where, self._target.username
        if error.code == _AUTHENTICATION_FAILED:
            return LoginRefusedError(f"{where} refuses the login of {name}. Check its Secret.")
        code = (error.details or {}).get("codeName", error.code)
        if code == _FULL:
            return RefusedError(
                f"{where} has reached its maximum number of users, so it refused to {purpose} "
                f"({code}). Use another server, or set users: Provided."
            )
        if error.code in _NOT_ALLOWED:
            return PermissionMissingError(
                f"{name} of {where} lacks the permission to {purpose} ({code}). Grant it: "
                f'db.grantRolesToUser("{name}", ["userAdminAnyDatabase"]). If the provider '
                "does not allow that, set users: Provided."
            )
        if any(state in str(error) for state in _NOT_STARTED_YET):
            return StartingError(f"{where} is still starting.")
        return RefusedError(f"{where} refused to {purpose} ({code}).")


def _roles(user: MongoDBUser) -> list[dict[str, str]]:
    return [{"role": role, "db": database} for role, database in sorted(user.roles)]


def _sufficient(privileges: Iterable[Mapping[str, Any]], database: str) -> bool:
    """Return whether privileges allow reading and writing a database.

    FerretDB reports none, and has no permissions per database.
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
    """Return the argument of the driver for the authority, which must be a file."""
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


async def accepts_any(target: MongoDBTarget, logins: Iterable[Login]) -> bool:
    """Return whether one of these logins works; a server that cannot be asked counts as yes."""
    try:
        async with MongoDBClient(target) as client:
            for login in logins:
                if await client.accepts(login.username, login.password):
                    return True
    except BackendError:
        return True
    return False
