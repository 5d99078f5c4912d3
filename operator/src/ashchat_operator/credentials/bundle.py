"""The credentials of one AshChat: read from its Secrets, and completed if something is missing.

The value of an existing Secret (password, key) changes only by a rotation (`rotation`); a Secret
that was deleted or lacks a key gets a new value. So nothing is rotated by accident, and nothing
needs to be: every backend reads its administrator's password from the Secret at every start, and
every user's password is set by the next pass over the backend. What pods cannot switch to
immediately (the users' passwords, the signing keys) is stored twice, so that a deleted Secret is
restored as it was. The one thing that is never generated again is the key ring for secrets at rest;
see `at_rest`.

Pure; random values come from `Generators`.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ashchat_core.topology import Service
from ashchat_operator.backends import external
from ashchat_operator.backends.base import Backend, Login
from ashchat_operator.backends.external import ExternalServer
from ashchat_operator.credentials import at_rest
from ashchat_operator.credentials.at_rest import AtRestKeyRing
from ashchat_operator.credentials.rotation import key_ring, signing_keys, users
from ashchat_operator.credentials.rotation.machine import RotationState
from ashchat_operator.credentials.signing_keys import SigningKeySet, new_key
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import child
from ashchat_operator.resource.types import Data

PASSWORD_BYTES: Final = 32

ADMIN_NAMES: Final = {
    Backend.RABBITMQ: "ashchat-admin",
    Backend.REDIS: "admin",
    Backend.CACHE: "admin",
    Backend.MONGODB: "ashchat",
}


@dataclass(frozen=True, slots=True)
class Admin:
    """The administrator of a backend, used by the operator only."""

    username: str
    password: str = field(repr=False)

    @property
    def revision(self) -> str:
        """A digest that changes with the password; 256 random bits cannot be guessed from it."""
        return hashlib.sha256(f"{self.username}:{self.password}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the credentials follow from, in addition to the operator's own Secrets."""

    provided: Mapping[Service, Mapping[str, bytes]] = field(default_factory=dict, repr=False)
    """Service → the files of its user-provided credentials."""
    known_ring: Mapping[str, str] = field(default_factory=dict)
    """Version → fingerprint of the keys for secrets at rest, as the status reports them."""
    rotations: Mapping[str, RotationState] = field(default_factory=dict)
    """Kind of credential → the state of its rotation; missing: idle."""
    servers: Mapping[Backend, ExternalServer] = field(default_factory=dict)
    """The external backends whose Secrets are usable."""
    proven: frozenset[Backend] = frozenset()
    """Those of them that were found in order as they are now."""

    def rotation(self, name: str) -> RotationState:
        """Return the state of one rotation."""
        return self.rotations.get(name, RotationState(name))


@dataclass(frozen=True, slots=True)
class Generators:
    """The sources of new secrets."""

    password: Callable[[], str] = lambda: secrets.token_hex(PASSWORD_BYTES)
    """256 random bits, in letters that need no quoting anywhere."""
    signing_key: Callable[[], bytes] = new_key
    """A private key (PKCS 8, PEM)."""
    ring_key: Callable[[], str] = at_rest.new_key
    """A key for secrets at rest."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """All credentials of one AshChat."""

    admins: Mapping[Backend, Admin]
    logins: Mapping[Service, Login]
    erlang_cookie: str = field(repr=False)
    code_key: str = field(repr=False)
    signing_keys: SigningKeySet = field(repr=False)
    key_ring: AtRestKeyRing = field(repr=False)
    additional: tuple[Login, ...] = ()
    """The logins that a rotation has at the backends in addition: the next or the previous ones."""
    former: tuple[Login, ...] = ()
    """The logins that a rotation has deleted and still stores, to check that they are refused."""
    retired: tuple[str, ...] = ()
    """User names that must not exist at the backends."""
    provided: Mapping[Service, Mapping[str, bytes]] = field(default_factory=dict, repr=False)
    """Service → the files of its user-provided credentials."""
    external: Mapping[Backend, ExternalServer] = field(default_factory=dict)
    """The external backends whose Secrets are usable."""
    proven: frozenset[Backend] = frozenset()
    """Those of them that were found in order as they are now."""
    held: Mapping[str, Data] = field(default_factory=dict, repr=False)
    """The services' Secrets as they are: files of an external backend stay until it is proven."""

    @property
    def at_backends(self) -> tuple[Login, ...]:
        """All logins that must work."""
        return (*self.logins.values(), *self.additional)


def admin_secret(ash: AshChat, backend: Backend) -> str:
    """Return the name of the Secret with the administrator of a backend."""
    return child(ash, f"{backend}-admin")


def service_secret(ash: AshChat, service: Service) -> str:
    """Return the name of the Secret that a service mounts."""
    return child(ash, f"{service}-credentials")


def signing_keys_secret(ash: AshChat) -> str:
    """Return the name of the Secret with the keys that sign tokens."""
    return child(ash, "auth-signing-keys")


def signing_keys_copy_secret(ash: AshChat) -> str:
    """Return the name of the Secret that holds those keys a second time."""
    return child(ash, "auth-signing-keys-copy")


def logins_secret(ash: AshChat) -> str:
    """Return the name of the Secret with all services' logins, including next and previous ones."""
    return child(ash, "rotation-logins")


def key_ring_secret(ash: AshChat) -> str:
    """Return the name of the Secret with the keys for secrets at rest."""
    return child(ash, "auth-key-ring")


def key_ring_copy_secret(ash: AshChat) -> str:
    """Return the name of the Secret that holds those keys a second time."""
    return child(ash, "auth-key-ring-copy")


def secret_names(ash: AshChat) -> tuple[str, ...]:
    """Return the names of all Secrets whose content exists nowhere else."""
    return (
        *(admin_secret(ash, backend) for backend in Backend if backend not in external.blocks(ash)),
        *(service_secret(ash, service) for service in Service),
        logins_secret(ash),
        signing_keys_secret(ash),
        signing_keys_copy_secret(ash),
        key_ring_secret(ash),
        key_ring_copy_secret(ash),
    )


def complete(
    ash: AshChat,
    found: Mapping[str, Data],
    inputs: Inputs | None = None,
    generators: Generators | None = None,
) -> Credentials:
    """Return the credentials that the Secrets hold, new ones where they hold none.

    Args:
        ash: The AshChat.
        found: Name of a Secret → its data; `secret_names` are looked up.
        inputs: What they follow from in addition; None: nothing.
        generators: The sources of new secrets; None: random ones.
    """
    inputs = inputs or Inputs()
    new = generators or Generators()

    def word(secret: str, key: str) -> str:
        held = found.get(secret, {}).get(key, b"").decode("ascii", "ignore").strip()
        return held or new.password()

    logins = users.complete(
        {service: found.get(service_secret(ash, service), {}) for service in Service},
        found.get(logins_secret(ash), {}),
        inputs.rotation(users.NAME),
        new.password,
    )
    external_blocks = external.blocks(ash)
    own = [service_secret(ash, service) for service in Service]
    return Credentials(
        admins={
            backend: Admin(ADMIN_NAMES[backend], word(admin_secret(ash, backend), "password"))
            for backend in Backend
            if backend not in external_blocks
        },
        logins=logins.logins,
        additional=logins.additional,
        former=logins.former,
        retired=logins.retired,
        erlang_cookie=word(admin_secret(ash, Backend.RABBITMQ), "erlang-cookie"),
        code_key=word(service_secret(ash, Service.EMAIL), "code.key"),
        signing_keys=signing_keys.complete(
            found.get(signing_keys_secret(ash), {}),
            found.get(signing_keys_copy_secret(ash), {}),
            inputs.rotation(signing_keys.NAME),
            new.signing_key,
        ),
        key_ring=key_ring.complete(
            found.get(key_ring_secret(ash), {}),
            found.get(key_ring_copy_secret(ash), {}),
            inputs.known_ring,
            inputs.rotation(key_ring.NAME),
            new.ring_key,
        ),
        provided=inputs.provided,
        external=inputs.servers,
        proven=inputs.proven,
        held={name: found[name] for name in own if name in found} if external_blocks else {},
    )
