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
"""May PING and nothing else, with any password: for the pod's own readiness probe."""

COMMANDS: Final = (
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

PUBSUB: Final = ("+@pubsub", "-pubsub")
"""Only for a service with channels of its own; PUBSUB would list everybody's."""


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


def wanted_users(
    target: RedisTarget, logins: Iterable[Login], *, cache: bool
) -> tuple[AclUser, ...]:
    """Return what the live server is held to; the administrator is never among them."""
    services = service_users(logins, cache=cache, prefix=target.prefix)
    return (default_user(), probe_user(), *services) if target.owned else services
