"""Bring the users of a running Redis to what is desired and read them back."""

from collections.abc import Iterable
from typing import Final, Protocol

from ashchat_core.api.reasons import Reason
from ashchat_core.topology import REDIS_GRANTS
from ashchat_core.wording import counted
from ashchat_operator.backends.base import (
    Accounts,
    BackendResult,
    StartingError,
    require_version,
    with_provided_login,
)
from ashchat_operator.backends.connectivity import explained, retry_unreachable
from ashchat_operator.backends.redis.client import RedisClient
from ashchat_operator.backends.redis.desired import AclUser, RedisTarget, wanted_users

MINIMUM_VERSION: Final = (7, 0)
"""The first in which a subcommand can be taken away (`-script|flush`)."""


class RedisAdmin(Protocol):
    """A Redis server, as the reconciliation uses it."""

    async def version(self) -> str:
        """Return the server's version."""

    async def users(self) -> dict[str, AclUser]:
        """Return all users by name."""

    async def set_user(self, user: AclUser) -> None:
        """Set a user to exactly this, atomically."""

    async def delete_user(self, name: str) -> None:
        """Delete a user; its connections end."""

    async def disconnect(self, name: str) -> None:
        """End the connections of a user."""

    async def may_use(self, key: str) -> None:
        """Check that this login may read a key and publish on a channel of that name."""


async def check_provided_login(
    client: RedisAdmin, username: str, keys: Iterable[str]
) -> BackendResult:
    """Check a server whose users the operator does not manage; writes nothing.

    Args:
        client: The server.
        username: The login that every service uses.
        keys: One key of every service.

    Raises:
        BackendError: The server cannot be asked, or the login may not do what the services do.
    """
    version = await client.version()
    require_version("Redis", version, MINIMUM_VERSION, "its ACLs do not support subcommands")
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
    """Bring the access list of a running server to what is desired and read it back.

    The connections of a user whose password was removed are ended, because Redis would keep them.
    Other users are left alone.

    Args:
        client: The server.
        wanted: The users that must be exactly like this.
        retired: Names that must not exist.
        write: False only reports what would be written.

    Raises:
        BackendError: The server cannot be asked, or rejected a command.
    """
    version = await client.version()
    require_version("Redis", version, MINIMUM_VERSION, "its ACLs do not support subcommands")
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
            message=f"Redis {version} differs in {counted(len(changes), 'place')}.",
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
                raise StartingError(
                    f"Redis accepted {counted(len(changes), 'change')}, but user {user.name} "
                    "still differs when read back. Another client may be changing it."
                )
    return BackendResult(
        ready=True,
        reason=Reason.DECLARED,
        message=(
            f"{counted(len(wanted), 'user')} of Redis {version} "
            f"{'is' if len(wanted) == 1 else 'are'} up to date."
        ),
        changes=changes,
        version=version,
    )


def _verb(before: AclUser | None, wanted: AclUser) -> str:
    if before is None:
        return "created"
    if before.passwords != wanted.passwords or before.nopass != wanted.nopass:
        return "set the password of"
    return "set the rights of"


async def ensure(
    target: RedisTarget, accounts: Accounts, *, cache: bool, write: bool
) -> BackendResult:
    """Bring the users of a Redis instance to what is desired.

    Args:
        target: The instance.
        accounts: The users that must exist and those that must not, without a prefix.
        cache: True for the instance that may evict, False for the one that may not.
        write: False only reports what would be written.

    Raises:
        BackendError: The server cannot be asked, or rejected a command.
    """
    accounts = accounts.prefixed(target.prefix)
    wanted = wanted_users(target, accounts.logins, cache=cache)
    keys = [
        f"{target.prefix}{grant.service}:probe" for grant in REDIS_GRANTS if grant.cache is cache
    ]

    async def ask() -> BackendResult:
        async with RedisClient(target) as client:
            if target.declare_users:
                return await reconcile(client, wanted, accounts.retired, write=write)
            return await check_provided_login(client, target.username, keys)

    if target.address is None:
        return await retry_unreachable(ask)
    async with explained("Redis", target.address):
        return await ask()
