"""Bring the users of MongoDB to what is desired and read them back."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from ashchat_core.api.reasons import Reason
from ashchat_core.wording import counted
from ashchat_operator.backends.base import (
    Accounts,
    BackendResult,
    StartingError,
    require_version,
    with_provided_login,
)
from ashchat_operator.backends.connectivity import explained
from ashchat_operator.backends.mongodb.client import MongoDBClient
from ashchat_operator.backends.mongodb.desired import (
    MongoDBTarget,
    MongoDBUser,
    ServerInfo,
    desired_users,
)

MINIMUM_VERSION: Final = (6, 0)
"""The oldest version that PyMongo 4.20 will continue to support; FerretDB 2 reports 7.0."""


class MongoDBAdmin(Protocol):
    """A database server, as the reconciliation uses it."""

    async def server(self) -> ServerInfo:
        """Return the version and the product."""

    async def users(self) -> dict[str, frozenset[tuple[str, str]]]:
        """Return all users with their (role, database) pairs."""

    async def accepts(self, username: str, password: str) -> bool:
        """Return whether this login works now."""

    async def create(self, user: MongoDBUser) -> None:
        """Create a user."""

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
    """Check a server whose users the operator does not manage; writes nothing.

    Args:
        client: The server.
        username: The login that every service uses.
        databases: The databases of the services.

    Raises:
        BackendError: The server cannot be asked, or the login may not do what the services do.
    """
    server = await client.server()
    if not server.ferretdb:
        require_version(
            "MongoDB", server.version, MINIMUM_VERSION, "the driver requires a newer one"
        )
    for name in databases:
        await client.may_use(name)
    return with_provided_login(f"{server.name} answers.", username, server.version)


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of one user from what is desired."""

    verb: str  # create, password, roles, drop
    username: str
    description: str
    user: MongoDBUser | None = None


async def compare(
    client: MongoDBAdmin,
    wanted: Iterable[MongoDBUser],
    retired: Iterable[str],
    *,
    roles_enforced: bool,
) -> list[Difference]:
    """Compare users, roles and passwords with what is desired; writes nothing."""
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
    """Bring the users to what is desired and read them back.

    Args:
        client: The server.
        wanted: The users that must exist.
        retired: Names that must not exist.
        write: False only reports what would be written.

    Raises:
        BackendError: The server cannot be asked, or rejected a command.
    """
    server = await client.server()
    if not server.ferretdb:
        require_version(
            "MongoDB", server.version, MINIMUM_VERSION, "the driver requires a newer one"
        )
    enforced = not server.ferretdb
    todo = await compare(client, wanted, retired, roles_enforced=enforced)
    changes = tuple(difference.description for difference in todo)
    if not write and changes:
        return BackendResult(
            ready=False,
            reason=Reason.DRIFTED,
            message=f"{server.name} differs in {counted(len(changes), 'place')}.",
            changes=changes,
            least_privilege=enforced,
            version=server.version,
        )
    for difference in todo:
        await _carry_out(client, difference)
    if todo:
        still = await compare(client, wanted, retired, roles_enforced=enforced)
        if still:
            raise StartingError(
                f"{server.name} accepted {counted(len(changes), 'change')}, but still differs when "
                f"read back: "
                f"{still[0].description}, for example. Another client may be changing it."
            )
    are = f"{counted(len(wanted), 'user')} can log in to {server.name}"
    if enforced:
        message = f"{are}, each with permissions on its own database only."
    else:
        message = (
            f"{are}. FerretDB has no permissions per database: each user can read and write all of "
            "them. Use the engine MongoDB where that matters."
        )
    return BackendResult(
        ready=True,
        reason=Reason.DECLARED if enforced else Reason.LEAST_PRIVILEGE_NOT_ENFORCED,
        message=message,
        changes=changes,
        least_privilege=enforced,
        version=server.version,
    )


async def ensure(target: MongoDBTarget, accounts: Accounts, *, write: bool) -> BackendResult:
    """Bring the users of a MongoDB server to what is desired.

    The driver itself retries until the server is found.

    Args:
        target: The server.
        accounts: The users that must exist and those that must not, without a prefix.
        write: False only reports what would be written.

    Raises:
        BackendError: The server cannot be asked, or rejected a command.
    """
    accounts = accounts.prefixed(target.prefix)
    wanted = desired_users(accounts.logins, target.databases)
    by_name = target.host.startswith("mongodb+srv")
    address = None if by_name else target.address
    async with explained("MongoDB", address), MongoDBClient(target) as client:
        if target.declare_users:
            return await reconcile(client, wanted, accounts.retired, write=write)
        return await check_provided_login(client, target.username, target.databases.values())
