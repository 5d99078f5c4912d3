"""What the administration of RabbitMQ, MongoDB and Redis has in common.

All work the same way: read everything, compare with what is desired (pure functions), write only
the difference, read back. So a pass over a backend in order writes nothing, and an interrupted pass
is completed by the next.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service


class Backend(StrEnum):
    """The backends of one AshChat; `CACHE` is the Redis instance that may evict."""

    RABBITMQ = "rabbitmq"
    REDIS = "redis"
    CACHE = "cache"
    MONGODB = "mongodb"


@dataclass(frozen=True, slots=True)
class Login:
    """One user of one service, created at every backend that the service uses.

    During a rotation a service has two logins (`chat-a`, `chat-b`) with the same permissions,
    until the old name is retired.
    """

    service: Service
    username: str
    password: str = field(repr=False)
    backends: frozenset[Backend] = frozenset(Backend)


def logins_at(backend: Backend, logins: Iterable[Login]) -> tuple[Login, ...]:
    """Return the logins for one backend, sorted by name."""
    return tuple(
        sorted((x for x in logins if backend in x.backends), key=lambda login: login.username)
    )


@dataclass(frozen=True, slots=True)
class Accounts:
    """The users that must exist at the backends, and those that must not."""

    logins: tuple[Login, ...]
    retired: tuple[str, ...] = ()
    """Names of users that a rotation has replaced."""

    def prefixed(self, prefix: str) -> "Accounts":
        """Return the accounts as a server knows them that several AshChats may share."""
        return Accounts(
            tuple(replace(login, username=prefix + login.username) for login in self.logins),
            tuple(prefix + name for name in self.retired),
        )


@dataclass(frozen=True, slots=True)
class Address:
    """The host and port of a server, and whether it is reached by TLS."""

    host: str
    port: int
    ca: str | None = field(default=None, repr=False)
    """The certificate authority (PEM); empty: the public ones; None: no TLS."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the targets of all backends have in common: how much of the server is ours."""

    declare_users: bool = True
    """False: the services use the login of the target itself; the operator creates no users."""
    prefix: str = ""
    """Prepended to the names of users, keys, channels and databases at a shared server."""
    address: Address | None = None
    """The address of an external backend; None: the operator runs this backend."""


@dataclass(frozen=True, slots=True)
class BackendResult:
    """What one pass over one backend found and did; contains no secret."""

    ready: bool
    reason: Reason
    message: str
    """A sentence or two for the user, including what to do."""
    changes: tuple[str, ...] = ()
    """What was written (with `write=False`: would be written); empty: nothing."""
    least_privilege: bool = True
    """False if the server has no permissions per database (FerretDB)."""
    version: str = ""
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    """Messages in each dead-letter queue (RabbitMQ)."""


def with_provided_login(
    message: str,
    username: str,
    version: str,
    *,
    changes: tuple[str, ...] = (),
    dead_letters: Mapping[str, int] = MappingProxyType({}),
) -> BackendResult:
    """Return the result of a server in order whose users the operator does not manage.

    Args:
        message: What was found there.
        username: The login that every service uses.
        version: The version of the server.
        changes: What was written.
        dead_letters: Messages in each dead-letter queue (RabbitMQ).
    """
    return BackendResult(
        ready=True,
        reason=Reason.LEAST_PRIVILEGE_NOT_ENFORCED,
        message=(
            f"{message} Every service uses the provided login {username}, so their permissions are "
            "not separated."
        ),
        changes=changes,
        least_privilege=False,
        version=version,
        dead_letters=dead_letters,
    )


class BackendError(Exception):
    """A backend cannot be brought into order now; the text is for the user."""

    reason: ClassVar[Reason] = Reason.REFUSED


class UnreachableError(BackendError):
    """No server answers at the address, or not in time."""

    reason = Reason.UNREACHABLE


class LoginRefusedError(BackendError):
    """The admin user's name or password is not accepted."""

    reason = Reason.LOGIN_REFUSED


class TlsFailedError(BackendError):
    """The certificate of the server is not trusted, or it does not speak TLS."""

    reason = Reason.TLS_FAILED


class PermissionMissingError(BackendError):
    """The login works but lacks a permission."""

    reason = Reason.PERMISSION_MISSING


class StartingError(BackendError):
    """The server answers, but is still starting or loading its data."""

    reason = Reason.BACKEND_STARTING


class VersionTooOldError(BackendError):
    """The server lacks what the topology needs."""

    reason = Reason.VERSION_TOO_OLD


class FeatureMissingError(BackendError):
    """The server lacks a feature that the topology needs, or has disabled it."""

    reason = Reason.FEATURE_MISSING


class RefusedError(BackendError):
    """The server refused one of our requests."""


def version_tuple(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparison: `4.0.5-rc.1` is (4, 0, 5)."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def require_version(product: str, version: str, minimum: tuple[int, ...], why: str) -> None:
    """Check a server's version.

    Raises:
        VersionTooOldError: It is older than `minimum`.
    """
    if version_tuple(version) < minimum:
        wanted = ".".join(map(str, minimum))
        raise VersionTooOldError(
            f"{product} {version} is too old: {why}. Upgrade it to {wanted} or newer."
        )
