"""The users that MongoDB must hold, each with rights on its own database. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ashchat_core import topology
from ashchat_operator.backends.base import (
    Backend,
    Login,
    Target,
    logins_at,
)


@dataclass(frozen=True, slots=True)
class MongoDBTarget(Target):
    """A MongoDB server, and the login of a user administrator.

    `host` of an external server is its URI.
    """

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    auth_source: str = "admin"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Further keyword arguments of the client, for example `tls`."""
    databases: Mapping[topology.Service, str] = field(
        default_factory=lambda: topology.MONGODB_DATABASES
    )
    """Service → the database that it owns, its prefix included."""


@dataclass(frozen=True, slots=True)
class MongoDBUser:
    """A user that must exist, and the one database that it may read and write."""

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
class ServerInfo:
    """The version that a server reports, and whether it is FerretDB."""

    version: str
    ferretdb: bool

    @property
    def name(self) -> str:
        """Return the product's name and version."""
        return f"{'FerretDB' if self.ferretdb else 'MongoDB'} {self.version}"
