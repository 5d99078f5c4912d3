"""The credentials of one AshChat: read from its Secrets, completed where something lacks.

A Secret that is there is never changed in what it *is* (password, key) but by a rotation
(`rotation`); one that is gone or lacks a key gets a new value. So nothing is rotated by
accident, and nothing has to be: every backend takes its administrator's password from the
Secret at every start, and every user's password is set by the next look at the backend. What
pods cannot change over to at once (the users' passwords, the signing keys) is kept twice, so
that a deleted Secret comes back as it was. The one thing never made anew is the key ring for
secrets at rest; see `at_rest`.

Pure but for the random numbers, which come in as a function.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
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
CODE_KEY_BYTES: Final = 32

ADMIN_NAMES: Final = {
    Backend.RABBITMQ: "ashchat-admin",
    Backend.REDIS: "admin",
    Backend.CACHE: "admin",
    Backend.MONGODB: "ashchat",
}


@dataclass(frozen=True, slots=True)
class Admin:
    """A backend's administrator, whom only the operator logs in as."""

    username: str
    password: str = field(repr=False)

    @property
    def revision(self) -> str:
        """A digest that changes with the password; 256 random bits cannot be guessed from it."""
        return hashlib.sha256(f"{self.username}:{self.password}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ProvidedSecret:
    """What a person gave in a Secret of their own, and a word that changes with it."""

    data: Data = field(repr=False)
    revision: str
    accepted_by: str = ""
    """The server that accepted it when it was tried; empty: none yet."""


@dataclass(frozen=True, slots=True)
class ProvidedSecrets:
    """What people gave, and per component what is missing."""

    smtp: ProvidedSecret | None = None
    smtp_ca: ProvidedSecret | None = None
    google: ProvidedSecret | None = None
    google_ca: ProvidedSecret | None = None
    missing: Mapping[str, str] | None = None
    """Component → what a person has to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """All credentials of one AshChat."""

    admins: Mapping[Backend, Admin]
    logins: Mapping[Service, Login]
    erlang_cookie: str = field(repr=False)
    code_key: str = field(repr=False)
    signing_keys: SigningKeySet = field(repr=False)
    key_ring: AtRestKeyRing = field(repr=False)
    beside: tuple[Login, ...] = ()
    """What a rotation has at the backends beside `logins`: the coming or the former ones."""
    former: tuple[Login, ...] = ()
    """What a rotation has taken away and still keeps, to try whether it is refused."""
    retired: tuple[str, ...] = ()
    """User names that are to be gone at the backends."""
    smtp: ProvidedSecret | None = None
    smtp_ca: ProvidedSecret | None = None
    google: ProvidedSecret | None = None
    google_ca: ProvidedSecret | None = None
    external: Mapping[Backend, ExternalServer] = field(default_factory=dict)
    """The external backends whose Secrets are usable."""
    proven: frozenset[Backend] = frozenset()
    """Those of them that were found in order as they are now."""
    held: Mapping[str, Data] = field(default_factory=dict, repr=False)
    """The services' Secrets as they are: of an external backend that is not proven it stays."""

    @property
    def at_backends(self) -> tuple[Login, ...]:
        """All logins that are to work."""
        return (*self.logins.values(), *self.beside)


def admin_secret(ash: AshChat, backend: Backend) -> str:
    """Return the name of the Secret with a backend's administrator."""
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
    """Return the name of the Secret with all services' logins, the coming and former ones too."""
    return child(ash, "rotation-logins")


def key_ring_secret(ash: AshChat) -> str:
    """Return the name of the Secret with the keys for secrets at rest."""
    return child(ash, "auth-key-ring")


def key_ring_copy_secret(ash: AshChat) -> str:
    """Return the name of the Secret that holds those keys a second time."""
    return child(ash, "auth-key-ring-copy")


def secret_names(ash: AshChat) -> tuple[str, ...]:
    """Return the names of all Secrets that hold something that exists nowhere else."""
    return (
        *(admin_secret(ash, backend) for backend in Backend if backend not in external.blocks(ash)),
        *(service_secret(ash, service) for service in Service),
        logins_secret(ash),
        signing_keys_secret(ash),
        signing_keys_copy_secret(ash),
        key_ring_secret(ash),
        key_ring_copy_secret(ash),
    )


def new_password() -> str:
    """Return a password of 256 random bits, in letters that need no quoting anywhere."""
    return secrets.token_hex(PASSWORD_BYTES)


def complete(
    ash: AshChat,
    found: Mapping[str, Data],
    *,
    smtp: ProvidedSecret | None = None,
    smtp_ca: ProvidedSecret | None = None,
    google: ProvidedSecret | None = None,
    google_ca: ProvidedSecret | None = None,
    known_ring: Mapping[str, str] = MappingProxyType({}),
    rotations: Mapping[str, RotationState] = MappingProxyType({}),
    servers: Mapping[Backend, ExternalServer] = MappingProxyType({}),
    proven: frozenset[Backend] = frozenset(),
    generate: Callable[[], str] = new_password,
    generate_key: Callable[[], bytes] = new_key,
    generate_ring_key: Callable[[], str] = at_rest.new_key,
) -> Credentials:
    """Return the credentials that the Secrets hold, new ones where they hold none.

    Args:
        ash: Whose they are.
        found: Name of a Secret → its data; `secret_names` are looked up.
        smtp: The mail server's login, if the resource names one and it is there.
        smtp_ca: The authority of the mail server, likewise.
        google: Google's service account key, likewise.
        google_ca: The authority of Google's endpoint, likewise.
        known_ring: Version → fingerprint of the keys for secrets at rest, as the status says.
        rotations: Kind → how far its rotation is; missing: at rest.
        servers: The external backends whose Secrets are usable.
        proven: Those of them that were found in order as they are now.
        generate: Makes a secret word.
        generate_key: Makes a private key (PKCS 8, PEM).
        generate_ring_key: Makes a key for secrets at rest.
    """

    def word(secret: str, key: str) -> str:
        held = found.get(secret, {}).get(key, b"").decode("ascii", "ignore").strip()
        return held or generate()

    cookie = admin_secret(ash, Backend.RABBITMQ)
    people = users.complete(
        {service: found.get(service_secret(ash, service), {}) for service in Service},
        found.get(logins_secret(ash), {}),
        rotations.get(users.NAME, RotationState(users.NAME)),
        generate,
    )
    return Credentials(
        admins={
            backend: Admin(ADMIN_NAMES[backend], word(admin_secret(ash, backend), "password"))
            for backend in Backend
            if backend not in external.blocks(ash)
        },
        logins=people.logins,
        beside=people.beside,
        former=people.former,
        retired=people.retired,
        erlang_cookie=word(cookie, "erlang-cookie"),
        code_key=word(service_secret(ash, Service.EMAIL), "code.key"),
        signing_keys=signing_keys.complete(
            found.get(signing_keys_secret(ash), {}),
            found.get(signing_keys_copy_secret(ash), {}),
            rotations.get(signing_keys.NAME, RotationState(signing_keys.NAME)),
            generate_key,
        ),
        key_ring=key_ring.complete(
            found.get(key_ring_secret(ash), {}),
            found.get(key_ring_copy_secret(ash), {}),
            known_ring,
            rotations.get(key_ring.NAME, RotationState(key_ring.NAME)),
            generate_ring_key,
        ),
        smtp=smtp,
        smtp_ca=smtp_ca,
        google=google,
        google_ca=google_ca,
        external=servers,
        proven=proven,
        held={
            name: found[name] for name in (service_secret(ash, x) for x in Service) if name in found
        }
        if external.blocks(ash)
        else {},
    )
