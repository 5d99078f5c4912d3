"""The users of a Redis instance, as an aclfile and as Redis lists them. Pure.

Both are compared in the one form that Redis itself writes (ACL LIST), parsed here.
Documentation: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ashchat_core import topology
from ashchat_operator.backends.base import (
    Backend,
    Login,
    Target,
    logins_at,
)

PROBE_USER: Final = "probe"
"""May only PING, with any password: for the readiness probe of the pod."""

COMMANDS: Final = (
    "-@all",
    "+@read",
    "+@write",
    "+@connection",
    "+@transaction",
    "+@scripting",
    "-@admin",
    "-@dangerous",
    # These access the whole keyspace, bypassing key patterns.
    "-scan",
    "-randomkey",
    "-dbsize",
    # These affect all users of the server.
    "-function",
    "-script|flush",
    "-script|kill",
)
"""The commands that a service may call. Source: `ACL CAT`, and `ACL CAT dangerous`."""

PUBSUB: Final = ("+@pubsub", "-pubsub")
"""Only for a service that has channels; PUBSUB would list those of all users."""


@dataclass(frozen=True, slots=True)
class RedisTarget(Target):
    """A Redis instance, and the login of its administrator."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    owned: bool = True
    """The whole instance is AshChat's: `default` is switched off, `probe` exists."""


@dataclass(frozen=True, slots=True)
class AclUser:
    """One user as Redis lists it; sets where order is irrelevant, tuples where it matters."""

    name: str
    enabled: bool
    commands: tuple[str, ...]
    keys: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    passwords: frozenset[str] = field(default=frozenset(), repr=False)
    """SHA-256 of each, in hex."""
    nopass: bool = False
    unknown: tuple[str, ...] = ()
    """Rules unknown to this parser, for example selectors: always a difference."""

    def rules(self) -> tuple[str, ...]:
        """Return the rules that create this user, in a stable order."""
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
    """Return the form in which Redis stores a password."""
    return hashlib.sha256(password.encode()).hexdigest()


_LONG_FORMS: Final = {"allkeys": "~*", "allchannels": "&*", "allcommands": "+@all"}

_FLAGS: Final = frozenset(
    # The last three are the state a line begins with, or that is always so.
    {"on", "off", "nopass", "resetchannels", "resetkeys", "sanitize-payload"}
)


def parse_line(line: str) -> AclUser:
    """Parse a line of ACL LIST, or of an aclfile.

    Raises:
        ValueError: It is not a valid line.
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
    """Return the user `default` as it must be: unless it is off, no password is needed.

    It has all permissions, which no client can use, because it is off and has no password: at its
    start Redis replays the append-only file as this user, and EXEC (every transaction and script
    in the file) checks permissions. Without them those writes would be lost.
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
        logins: All logins; those without a grant here are skipped.
        cache: True for the instance that may evict, False for the one that may not.
        prefix: The prefix of every key and channel.
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
                commands=(*COMMANDS, *(PUBSUB if grant.channels else ())),
                keys=frozenset(prefix + pattern for pattern in grant.keys),
                channels=frozenset(prefix + pattern for pattern in grant.channels),
                passwords=frozenset({digest(login.password)}),
            )
        )
    return tuple(users)


def render_aclfile(*, admin: tuple[str, str], logins: Iterable[Login], cache: bool) -> str:
    """Return the text of the instance's aclfile; it holds hashes, no password.

    Args:
        admin: Name and password of the administrator; the name must not be `default`.
        logins: All logins.
        cache: The instance; see `service_users`.

    Raises:
        ValueError: The administrator is called `default`, which is switched off.
    """
    name, password = admin
    if name == "default":
        raise ValueError("the Redis administrator must not be called default, which is off")
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


def wanted_users(
    target: RedisTarget, logins: Iterable[Login], *, cache: bool
) -> tuple[AclUser, ...]:
    """Return the users that the running server must have; never the administrator."""
    services = service_users(logins, cache=cache, prefix=target.prefix)
    return (default_user(), probe_user(), *services) if target.owned else services
