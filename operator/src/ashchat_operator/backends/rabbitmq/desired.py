"""What a virtual host of RabbitMQ must hold, and what it holds. Pure."""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ashchat_core import topology
from ashchat_operator.backends.base import (
    Backend,
    Login,
    Target,
    logins_at,
)

_SALT_BYTES: Final = 4

_SHA256: Final = "rabbit_password_hashing_sha256"


@dataclass(frozen=True, slots=True)
class RabbitMQTarget(Target):
    """The management API of a RabbitMQ, and a login there tagged administrator.

    `address` is where the services connect by AMQP.
    """

    management_url: str
    username: str
    password: str = field(repr=False)
    vhost: str = topology.VHOST


@dataclass(frozen=True, slots=True)
class Desired:
    """What a virtual host must hold."""

    vhost: str
    exchanges: tuple[str, ...]
    queues: tuple[str, ...]
    bindings: tuple[topology.Binding, ...]
    policies: tuple[topology.Policy, ...]
    logins: tuple[Login, ...]
    retired: tuple[str, ...] = ()
    declare_users: bool = True


def desired(
    vhost: str,
    logins: Iterable[Login],
    retired: Iterable[str] = (),
    *,
    declare_users: bool = True,
) -> Desired:
    """Return the topology table, with users for the services that log in to RabbitMQ."""
    return Desired(
        vhost=vhost,
        exchanges=topology.exchanges(),
        queues=topology.queues(),
        bindings=topology.bindings(),
        policies=topology.policies(),
        logins=tuple(
            login
            for login in logins_at(Backend.RABBITMQ, logins)
            if topology.permissions(login.service) is not None
        ),
        retired=tuple(retired),
        declare_users=declare_users,
    )


@dataclass(frozen=True, slots=True)
class VirtualHostState:
    """What was read from the broker, each kind by name; `vhost` is `None` if absent."""

    vhost: Mapping[str, Any] | None
    version: str = ""
    """The version of the server."""
    exchanges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    queues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bindings: tuple[Mapping[str, Any], ...] = ()
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    users: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    permissions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Permissions in this virtual host, by user."""


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return RabbitMQ's form of a password: base64(salt + SHA-256(salt + password)).

    Source: https://www.rabbitmq.com/docs/passwords#computing-password-hash
    """
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def account(
    password: str, *, tags: str | list[str], salt: bytes | None = None
) -> dict[str, str | list[str]]:
    """Return a user's password hash and tags, for the HTTP API and for a definitions document."""
    return {
        "password_hash": hash_password(password, salt),
        "hashing_algorithm": _SHA256,
        "tags": tags,
    }


def password_matches(password: str, password_hash: str, algorithm: str) -> bool:
    """Return whether a hash that was read back from the broker is that of this password."""
    if algorithm != _SHA256:
        return False
    try:
        raw = base64.b64decode(password_hash, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hash_password(password, raw[:_SALT_BYTES]), password_hash)
