"""A Redis server by redis-py, as its administrator sees it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, Self

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ashchat_core.redis import TlsConnection
from ashchat_operator.backends import connectivity
from ashchat_operator.backends.base import (
    BackendError,
    FeatureMissingError,
    Login,
    LoginRefusedError,
    PermissionMissingError,
    RefusedError,
    StartingError,
    UnreachableError,
)
from ashchat_operator.backends.redis.desired import (
    COMMANDS,
    PUBSUB,
    AclUser,
    RedisTarget,
    parse_line,
)

TIMEOUT_SECONDS: Final = 5.0


async def accepts(target: RedisTarget, login: Login) -> bool:
    """Return whether a login works; a server that cannot be asked counts as yes."""
    own = replace(target, username=login.username, password=login.password)
    async with RedisClient(own) as client:
        try:
            await client.ping()
        except LoginRefusedError:
            return False
        except BackendError:
            return True
    return True


async def accepts_any(target: RedisTarget, logins: Iterable[Login]) -> bool:
    """Return whether one of these logins works; a server that cannot be asked counts as yes."""
    for login in logins:
        if await accepts(target, login):
            return True
    return False


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
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the next pass retries
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
        """Send a command that needs a login."""
        await self._call("ping", "PING")

    async def set_user(self, user: AclUser) -> None:
        """Set a user to exactly this; Redis applies all rules of one call atomically."""
        await self._call(
            f"set user {user.name}", "ACL", "SETUSER", user.name, "reset", *user.rules()
        )

    async def delete_user(self, name: str) -> None:
        """Delete a user; its connections end."""
        await self._call(f"delete user {name}", "ACL", "DELUSER", name)

    async def disconnect(self, name: str) -> None:
        """End the connections of a user; clients may log in again with the current rules."""
        await self._call(f"disconnect user {name}", "CLIENT", "KILL", "USER", name)

    async def may_use(self, key: str) -> None:
        """Check that this login may read a key and publish on a channel of that name.

        The channel has no subscribers.
        """
        await self._call(f"use keys like {key}", "EXISTS", key)
        await self._call(f"use channels like {key}", "PUBLISH", key, "")

    async def _call(self, purpose: str, *command: str) -> Any:
        """Send a command.

        Raises:
            UnreachableError: The server does not answer in time.
            LoginRefusedError: The login is not accepted.
            PermissionMissingError: The login works, but lacks a permission.
            FeatureMissingError: The server lacks the command, or its provider disables it.
            StartingError: The server is still loading its data.
            RefusedError: The server rejected the command.
        """
        where = f"Redis at {self._target.host}:{self._target.port}"
        try:
            # As words, so that the library does not parse the replies by command.
            return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except exceptions.BusyLoadingError as error:
            raise StartingError(f"{where} is still loading its data.") from error
        except exceptions.NoPermissionError as error:
            raise PermissionMissingError(self._lacks(where, purpose)) from error
        except exceptions.AuthenticationError as error:
            raise LoginRefusedError(
                f"{where} refuses the login of {self._target.username}. Check its Secret."
            ) from error
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            raise UnreachableError(
                f"{where} does not answer ({type(error).__name__}). Check that the pod is running."
            ) from error
        except exceptions.ResponseError as error:
            if str(error).lower().startswith(("unknown command", "unknown subcommand")):
                raise FeatureMissingError(
                    f"{where} has no command {command[0]}, which is needed to {purpose}. If the "
                    "provider disables it, create the user there and set users: Provided."
                ) from error
            raise RefusedError(f"{where} refused to {purpose} ({type(error).__name__}).") from error
        except exceptions.RedisError as error:
            # The server's text could quote a rule, and rules contain hashes.
            raise RefusedError(f"{where} refused to {purpose} ({type(error).__name__}).") from error

    def _lacks(self, where: str, purpose: str) -> str:
        name, prefix = self._target.username, self._target.prefix
        if self._target.declare_users:
            return (
                f"{name} of {where} lacks the permission to {purpose}. Grant it: ACL SETUSER "
                f"{name} +acl +info +client|kill. If the provider does not allow that, set users: "
                "Provided."
            )
        return (
            f"{name} of {where} lacks the permission to {purpose}. Grant it: ACL SETUSER {name} "
            f"~{prefix}* &{prefix}* {' '.join((*COMMANDS, PUBSUB[0]))} +info"
        )


def _encryption(target: RedisTarget) -> dict[str, Any]:
    """Return the library's arguments for TLS."""
    if target.address is None or target.address.ca is None:
        return {}
    connectivity.trust(target.address.ca)
    return {"connection_class": TlsConnection, "ssl_ca_data": target.address.ca or None}
