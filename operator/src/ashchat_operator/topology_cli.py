"""`ashchat-operator topology`: set up the backends without a cluster.

For running the services by hand: it declares the virtual host, queues, users and permissions
on a RabbitMQ, a MongoDB and a Redis, and writes the files that the services read. The
administrators' addresses contain passwords, so they come from the environment or from files,
never from arguments, which every user of a machine can read.
"""

import asyncio
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import SplitResult, unquote, urlsplit

import jwt
import typer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from rich.console import Console
from rich.table import Table

from ashchat_core.at_rest import KEY_SUFFIX
from ashchat_core.topology import MONGODB_DATABASES, REDIS_GRANTS, VHOST, Service, permissions
from ashchat_operator.backends import ensure
from ashchat_operator.backends.addresses import mongodb_uri, rabbitmq_uri, redis_uri
from ashchat_operator.backends.base import Backend, BackendResult, Login
from ashchat_operator.backends.ensure import Backends
from ashchat_operator.backends.mongodb.desired import MongoDBTarget
from ashchat_operator.backends.rabbitmq.desired import RabbitMQTarget
from ashchat_operator.backends.redis.desired import RedisTarget
from ashchat_operator.credentials import at_rest

app = typer.Typer(
    no_args_is_help=True, help="Declare queues, users and permissions on existing backends."
)

PREFIX: Final = "ASHCHAT_ADMIN_"
RABBITMQ: Final = "RABBITMQ_MANAGEMENT_URI"
AMQP: Final = "RABBITMQ_URI"
MONGODB: Final = "MONGODB_URI"
REDIS: Final = "REDIS_URI"
CACHE: Final = "CACHE_URI"

_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_PASSWORD_BYTES: Final = 24
_CODE_KEY_BYTES: Final = 32
_USAGE_ERROR: Final = 2

Folder = Annotated[
    Path,
    typer.Option(help="Directory of the services' credential files, one subdirectory per service."),
]
Name = Annotated[
    str,
    typer.Option(
        help="For a second AshChat on the same backends: the name of the virtual host and "
        "the prefix of users and databases."
    ),
]


class UsageError(Exception):
    """The administrators' addresses are missing or wrong; the text is shown to the user."""


@dataclass(frozen=True, slots=True)
class Admin:
    """The backends with their administrators' logins."""

    rabbitmq: RabbitMQTarget
    amqp: tuple[str, int]
    mongodb: MongoDBTarget
    redis: RedisTarget
    cache: RedisTarget


def read_admin(environment: Mapping[str, str], name: str = "") -> Admin:
    """Read the administrators' addresses.

    Args:
        environment: `ASHCHAT_ADMIN_…_URI`, or `ASHCHAT_ADMIN_…_URI_FILE` naming a file
            that holds it. CACHE_URI defaults to REDIS_URI, RABBITMQ_URI to port
            5672 on the host of the management API.
        name: The AshChat's name, if several share these backends.

    Raises:
        UsageError: An address is missing or invalid.
    """
    management = _address(environment, RABBITMQ, {"http": 15672, "https": 15671})
    amqp = _address(environment, AMQP, {"amqp": 5672}, f"amqp://{management.hostname}")
    mongodb = _address(environment, MONGODB, {"mongodb": 27017})
    redis = _address(environment, REDIS, {"redis": 6379})
    cache = _address(environment, CACHE, {"redis": 6379}, redis.geturl())
    return Admin(
        rabbitmq=RabbitMQTarget(
            f"{management.scheme}://{_place(management)}", *_who(management), vhost=name or VHOST
        ),
        amqp=(str(amqp.hostname), amqp.port or 5672),
        mongodb=MongoDBTarget(
            str(mongodb.hostname),
            mongodb.port or 27017,
            *_who(mongodb),
            databases={
                service: f"{name}-{database}" if name else database
                for service, database in MONGODB_DATABASES.items()
            },
        ),
        redis=_redis(redis),
        cache=_redis(cache),
    )


def _address(
    environment: Mapping[str, str], key: str, ports: Mapping[str, int], default: str = ""
) -> SplitResult:
    """Return one address with its port filled in.

    Raises:
        UsageError: It is missing or has another scheme.
    """
    variable = PREFIX + key
    text = environment.get(variable, "")
    if not text and (file := environment.get(f"{variable}_FILE")):
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(f"{variable}_FILE: {file}: {error.strerror}.") from None
    text = text or default
    scheme = next(iter(ports))
    if not text:
        raise UsageError(
            f"Set {variable} to {scheme}://USER:PASSWORD@HOST:{ports[scheme]}, or {variable}_FILE "
            "to a file that holds it."
        )
    parts = urlsplit(text)
    # Messages never include the address: it contains a password.
    try:
        port = parts.port
    except ValueError:
        raise UsageError(f"{variable}: the port is not a number.") from None
    if parts.scheme not in ports or not parts.hostname:
        raise UsageError(f"{variable} is not a {' or '.join(ports)} address.")
    if port is None:
        parts = parts._replace(netloc=f"{parts.netloc}:{ports[parts.scheme]}")
    return parts


def _who(parts: SplitResult) -> tuple[str, str]:
    return unquote(parts.username or "default"), unquote(parts.password or "")


def _place(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _redis(parts: SplitResult) -> RedisTarget:
    # Not owned: other applications may log in as its user `default`.
    return RedisTarget(str(parts.hostname), parts.port or 6379, *_who(parts), owned=False)


class CredentialFiles:
    """The services' files in one folder; existing credentials are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new: dict[Path, str] = {}

    def get(self, path: str, new: str) -> str:
        """Return a file's text; a missing file will be created with `new`."""
        file = self._folder / path
        if file.is_file():
            return file.read_text(encoding="utf-8").strip()
        return self._new.setdefault(file, new)

    def put(self, path: str, text: str) -> None:
        """Set the text of a derived file. Only derived files are ever replaced."""
        file = self._folder / path
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            self._new[file] = text

    def stems(self, pattern: str) -> list[str]:
        """Return the names of the matching files, without their suffixes."""
        new = [file.stem for file in self._new if file.match(pattern)]
        return sorted({*(file.stem for file in self._folder.glob(pattern)), *new})

    @property
    def missing(self) -> tuple[str, ...]:
        """The files that are missing or outdated."""
        return tuple(str(file.relative_to(self._folder)) for file in self._new)

    def write(self) -> None:
        """Write these files, readable only by their owner."""
        for file, text in self._new.items():
            for folder in (self._folder, file.parent):
                folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
            with os.fdopen(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "w"
            ) as out:
                out.write(text)
            temporary.replace(file)  # atomic: a service may be reading it
        self._new.clear()


def collect(files: CredentialFiles, admin: Admin, name: str = "") -> tuple[Login, ...]:
    """Return the logins in the files, and new ones where files are missing. Writes nothing.

    Files of a service: `rabbitmq.uri`, `mongodb.uri`, `redis.uri`, `counters.uri`, each with a
    `.revision`, and `code.key` (email). Also `signing-keys/` and `key-ring/` (auth) and
    `jwks/jwks.json` (chat and static).
    """
    logins: list[Login] = []
    for service in Service:
        username = f"{name}-{service}-a" if name else f"{service}-a"

        def login(
            backend: Backend, service: Service = service, username: str = username, word: str = ""
        ) -> Login:
            password = word or secrets.token_urlsafe(_PASSWORD_BYTES)
            return Login(service, username, password, frozenset({backend}))

        uris: dict[str, tuple[Login, str]] = {}
        if permissions(service) is not None:
            new = login(Backend.RABBITMQ)
            host, port = admin.amqp
            uri = rabbitmq_uri(host, new, port, admin.rabbitmq.vhost)
            uris["rabbitmq"] = (new, uri)
        if service in admin.mongodb.databases:
            new = login(Backend.MONGODB)
            database = admin.mongodb.databases[service]
            uri = mongodb_uri(admin.mongodb.host, new, database, admin.mongodb.port)
            uris["mongodb"] = (new, uri)
        password = ""
        for grant in REDIS_GRANTS:
            if grant.service is service:
                # One password, because both instances may be one server, with one user.
                new = login(Backend.CACHE if grant.cache else Backend.REDIS, word=password)
                target = admin.cache if grant.cache else admin.redis
                uri = redis_uri(target.host, new, target.port)
                uris[grant.credential] = (new, uri)
                parts = urlsplit(files.get(f"{service}/{grant.credential}.uri", uri))
                password = _who(parts)[1]
        for kind, (new, uri) in uris.items():
            parts = urlsplit(files.get(f"{service}/{kind}.uri", uri))
            files.get(f"{service}/{kind}.revision", secrets.token_hex(4))
            logins.append(Login(service, *_who(parts), new.backends))
    files.get(f"{Service.EMAIL}/code.key", secrets.token_hex(_CODE_KEY_BYTES))
    files.get(f"{Service.EMAIL}/code.revision", secrets.token_hex(4))
    version = files.get("key-ring/active", at_rest.FIRST_VERSION)
    files.get(f"key-ring/{version}{KEY_SUFFIX}", at_rest.new_key())
    _signing_keys(files)
    return tuple(logins)


def _signing_keys(files: CredentialFiles) -> None:
    kid = files.get("signing-keys/active", secrets.token_hex(8))
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    files.get(f"signing-keys/{kid}.pem", pem)
    published = []
    for name in files.stems("signing-keys/*.pem"):
        private = load_pem_private_key(files.get(f"signing-keys/{name}.pem", "").encode(), None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise UsageError(f"signing-keys/{name}.pem is not an EC key.")
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        published.append({**jwk, "kid": name, "use": "sig", "alg": "ES256"})
    files.put("jwks/jwks.json", json.dumps({"keys": published}, indent=1) + "\n")


def _run(folder: Path, name: str, *, write: bool) -> None:
    console, errors = Console(), Console(stderr=True)
    files = CredentialFiles(folder)
    try:
        admin = read_admin(os.environ, name)
        logins = collect(files, admin, name)
        missing = files.missing
        if write:
            # Files first: a password that is set but not saved would be lost.
            files.write()
    except (UsageError, ValueError, OSError) as error:
        errors.print(f"[red]{error}", markup=True, highlight=False, soft_wrap=True)
        raise typer.Exit(_USAGE_ERROR) from None
    backends = Backends(
        logins=logins,
        rabbitmq=admin.rabbitmq,
        redis=admin.redis,
        cache=admin.cache,
        mongodb=admin.mongodb,
    )
    results = asyncio.run(ensure.ensure(backends, write=write))
    console.print(_table(results))
    for backend, result in results.items():
        for change in result.changes:
            line = change if write else f"missing: {change}"
            console.print(f"{backend}: {line}", highlight=False)
    if missing:
        verb = "wrote" if write else "missing:"
        console.print(f"{verb} {', '.join(missing)} in {folder}", highlight=False, soft_wrap=True)
    if not all(result.ready for result in results.values()) or (missing and not write):
        raise typer.Exit(1)


def _table(results: Mapping[Backend, BackendResult]) -> Table:
    table = Table("backend", "ready", "reason", "message", box=None, pad_edge=False)
    for backend, result in results.items():
        table.add_row(backend, "yes" if result.ready else "no", result.reason, result.message)
    return table


@app.command()
def apply(folder: Folder = Path(".ashchat/credentials"), name: Name = "") -> None:
    """Declare everything and write the credential files. A second run changes nothing.

    Needs ASHCHAT_ADMIN_RABBITMQ_MANAGEMENT_URI, ASHCHAT_ADMIN_MONGODB_URI and
    ASHCHAT_ADMIN_REDIS_URI, or the same names with _FILE and a file that holds the address.
    Exit code 0: everything is ready; 1: a backend is not; 2: an address is missing or wrong.
    """
    _run(folder, name, write=True)


@app.command()
def check(folder: Folder = Path(".ashchat/credentials"), name: Name = "") -> None:
    """Print the differences without writing. Exit code 1 if there are any."""
    _run(folder, name, write=False)
