"""External backends: what their Secrets contain, and what the services get of it. Pure.

Providers hand out either one URI (CloudAMQP, Atlas, Redis Cloud), or host, port and login as
separate keys (https://servicebinding.io/spec/core/1.1.0/#well-known-secret-entries, the RabbitMQ
cluster operator, most of what fills Secrets from a vault). Both are accepted.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ashchat_core.topology import MONGODB_DATABASES, REDIS_GRANTS, VHOST, Service
from ashchat_operator.backends.base import Backend, Login
from ashchat_operator.resource.enums import Users
from ashchat_operator.resource.model import AshChat, External

PREFIX_MAX: Final = 40
"""Characters; MongoDB's names of databases have 63 bytes at most."""

CA_KEY: Final = "ca.crt"

_SCHEMES: Final = {
    Backend.RABBITMQ: {"amqp": (5672, False), "amqps": (5671, True)},
    Backend.REDIS: {"redis": (6379, False), "rediss": (6379, True)},
    Backend.CACHE: {"redis": (6379, False), "rediss": (6379, True)},
    Backend.MONGODB: {"mongodb": (27017, False), "mongodb+srv": (27017, True)},
}
"""Scheme → default port, and whether it means TLS."""

_OURS: Final = ("tls", "ssl", "authsource", "authmechanism")
"""Prefixes of the options of a MongoDB URI that are ignored: certificates are always verified, by
the authority that the resource names."""


class InvalidSecretError(ValueError):
    """A Secret lacks the address of the server or the login; the text is for the user."""


@dataclass(frozen=True, slots=True)
class ExternalServer:
    """An external backend: its address, and the login there."""

    backend: Backend
    hosts: tuple[tuple[str, int], ...]
    """One; of a MongoDB replica set all that the URI names."""
    username: str
    password: str = field(repr=False)
    tls: bool
    ca: str
    """The certificate authority (PEM); empty: the public ones."""
    users: Users
    prefix: str
    revision: str
    """Changes with the Secret and the authority's Secret, and reveals nothing about them."""
    vhost: str = ""
    management_url: str = ""
    srv: bool = False
    """Whether the host is a name whose SRV records name the servers (mongodb+srv)."""
    options: str = ""
    """The query of a MongoDB URI, without the options that are ignored."""
    auth_source: str = "admin"

    @property
    def where(self) -> str:
        """Return host and port, of the first if there are several."""
        host, port = self.hosts[0]
        return f"{host}:{port}"


def blocks(ash: AshChat) -> dict[Backend, External]:
    """Return the external backends, as the resource describes them."""
    spec = ash.spec
    every = {
        Backend.RABBITMQ: spec.rabbitmq.external,
        Backend.REDIS: spec.redis.external,
        Backend.CACHE: spec.translate.cache.external,
        Backend.MONGODB: spec.mongodb.external,
    }
    return {backend: block for backend, block in every.items() if block is not None}


def prefix(ash: AshChat, block: External) -> str:
    """Return the prefix of every name that is created at a server.

    Names in Kubernetes have no underscore, so two AshChats never have the same prefix.
    """
    if block.prefix is not None:
        return block.prefix
    name = f"{ash.namespace}_{ash.name}_"
    if len(name) <= PREFIX_MAX and name[0].isalpha():
        return name
    return f"ashchat_{hashlib.sha256(name.encode()).hexdigest()[:24]}_"


def server(
    backend: Backend,
    block: External,
    data: Mapping[str, bytes],
    *,
    ca: bytes | None,
    beginning: str,
    revision: str,
) -> ExternalServer:
    """Return the server that a Secret describes.

    Args:
        backend: The backend.
        block: Its description in the resource.
        data: The data of the Secret.
        ca: The certificate authority (PEM); None: the resource names none.
        beginning: See `prefix`.
        revision: See `ExternalServer`.

    Raises:
        InvalidSecretError: The Secret is incomplete, or not valid.
    """
    text = {key: value.decode("utf-8", "replace").strip() for key, value in data.items()}
    if ca is not None and b"BEGIN CERTIFICATE" not in ca:
        raise InvalidSecretError(
            f"the Secret of its authority has no certificate (PEM) under {CA_KEY}"
        )
    schemes = _SCHEMES[backend]
    uri = text.get("uri") or _made_up(next(iter(schemes)), text)
    parts = urlsplit(uri)
    if parts.scheme not in schemes:
        raise InvalidSecretError(
            f"its uri must start with {' or '.join(f'{scheme}://' for scheme in schemes)}"
        )
    default_port, encrypted = schemes[parts.scheme]
    if block.tls.enabled and backend is Backend.RABBITMQ:
        default_port = schemes["amqps"][0]
    given = dict(parse_qsl(parts.query))
    encrypted = encrypted or any(given.get(key) == "true" for key in ("tls", "ssl"))
    if encrypted and not block.tls.enabled:
        raise InvalidSecretError("its uri requests TLS, but tls.enabled of the resource is false")
    userinfo, _, netloc = parts.netloc.rpartition("@")
    name, _, word = userinfo.partition(":")
    username = text.get("username") or unquote(name)
    password = text.get("password") or unquote(word)
    if backend in {Backend.REDIS, Backend.CACHE}:
        username = username or "default"
    if not username or not password:
        raise InvalidSecretError("it lacks username or password, and so does its uri")
    result = ExternalServer(
        backend=backend,
        hosts=_hosts(netloc, default_port),
        username=username,
        password=password,
        tls=block.tls.enabled,
        ca=ca.decode("ascii", "replace") if ca is not None else "",
        users=block.users,
        prefix=beginning,
        revision=revision,
    )
    path = unquote(parts.path.removeprefix("/"))
    if backend is Backend.RABBITMQ:
        return replace(
            result,
            vhost=path or f"{beginning}{VHOST}",
            management_url=_management_url(text.get("management-url", ""), result),
        )
    if backend is Backend.MONGODB:
        return _mongodb(result, parts.scheme, path, parts.query)
    if path not in {"", "0"}:
        raise InvalidSecretError(
            "its uri names a database other than 0: publish and subscribe ignore databases, so the "
            "prefix separates AshChats instead"
        )
    return result


def _made_up(scheme: str, text: Mapping[str, str]) -> str:
    if not text.get("host"):
        raise InvalidSecretError("it has neither uri nor host")
    port = f":{text['port']}" if text.get("port") else ""
    return f"{scheme}://{text['host']}{port}"


def _hosts(netloc: str, default_port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for one in netloc.split(","):
        try:
            parts = urlsplit(f"//{one}")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise InvalidSecretError(f"{one!r} is not host:port") from None
        if not host:
            raise InvalidSecretError("its uri names no host")
        found.append((host, port or default_port))
    return tuple(found)


def _management_url(given: str, result: ExternalServer) -> str:
    """Return the URL of the management API; with TLS port 443, as at CloudAMQP and Amazon MQ."""
    host = result.hosts[0][0]
    shown = f"[{host}]" if ":" in host else host
    if not given:
        return f"https://{shown}" if result.tls else f"http://{shown}:15672"
    parts = urlsplit(given)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise InvalidSecretError("management-url must be http(s)://host:port, without a login")
    if result.tls and parts.scheme != "https":
        raise InvalidSecretError(
            "management-url must start with https://, unless tls.enabled is false"
        )
    return given.rstrip("/")


def _mongodb(result: ExternalServer, scheme: str, path: str, query: str) -> ExternalServer:
    options = parse_qsl(query)
    kept = [(key, value) for key, value in options if not key.lower().startswith(_OURS)]
    source = next((value for key, value in options if key.lower() == "authsource"), "")
    return replace(
        result,
        srv=scheme == "mongodb+srv",
        options=urlencode(kept),
        # https://www.mongodb.com/docs/manual/reference/connection-string-options/#authentication-options
        auth_source=source or path or "admin",
    )


def mongodb_address(external: ExternalServer) -> str:
    """Return a MongoDB URI without login and database: the address and the options."""
    scheme = "mongodb+srv" if external.srv else "mongodb"
    return f"{scheme}://{_mongodb_hosts(external)}/?{_mongodb_options(external)}"


def files(external: ExternalServer, service: Service, login: Login) -> dict[str, bytes]:
    """Return the files that a service gets for an external backend that it uses.

    Args:
        external: The backend.
        service: The service.
        login: The service's own login; ignored with a provided login.
    """
    name = credential(external.backend, service)
    declared = external.users is Users.DECLARE
    username = external.prefix + login.username if declared else external.username
    password = login.password if declared else external.password
    userinfo = f"{quote(username, safe='')}:{quote(password, safe='')}"
    host, port = external.hosts[0]
    where = f"{userinfo}@{_bracketed(host)}:{port}"
    if external.backend is Backend.RABBITMQ:
        uri = f"{'amqps' if external.tls else 'amqp'}://{where}/{quote(external.vhost, safe='')}"
    elif external.backend is Backend.MONGODB:
        source = "admin" if declared else external.auth_source
        database = external.prefix + MONGODB_DATABASES[service]
        scheme = "mongodb+srv" if external.srv else "mongodb"
        uri = (
            f"{scheme}://{userinfo}@{_mongodb_hosts(external)}/{database}"
            f"?authSource={quote(source, safe='')}&{_mongodb_options(external)}"
        )
    else:
        scheme = "rediss" if external.tls else "redis"
        uri = f"{scheme}://{where}/0?prefix={external.prefix}"
    made = {f"{name}.uri": uri.encode()}
    if external.ca:
        made[f"{name}-ca.pem"] = external.ca.encode()
    # Never a digest of what a user chose: it could be found by trying.
    drawn = hashlib.sha256(f"{uri}{external.ca}".encode()).hexdigest()[:12]
    made[f"{name}.revision"] = (drawn if declared else external.revision).encode()
    return made


def credential(backend: Backend, service: Service) -> str:
    """Return the name of a service's credential for a backend that it uses."""
    for grant in REDIS_GRANTS:
        if grant.service is service and backend is (
            Backend.CACHE if grant.cache else Backend.REDIS
        ):
            return grant.credential
    return backend.value


def file_names(backend: Backend, service: Service) -> tuple[str, ...]:
    """Return the names of the files that `files` may return."""
    name = credential(backend, service)
    return (f"{name}.uri", f"{name}.revision", f"{name}-ca.pem")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _mongodb_hosts(external: ExternalServer) -> str:
    if external.srv:
        return external.hosts[0][0]
    return ",".join(f"{_bracketed(host)}:{port}" for host, port in external.hosts)


def _mongodb_options(external: ExternalServer) -> str:
    tls = f"tls={'true' if external.tls else 'false'}"
    return f"{tls}&{external.options}" if external.options else tls
