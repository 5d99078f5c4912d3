"""Secrets, and the objects derived from them.

Secrets always use `data`, never `stringData`: the API server converts `stringData` to `data`,
and a comparison with the applied object would then always find a difference.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from ashchat_core.topology import MONGODB_DATABASES, REDIS_GRANTS, VHOST, Service, permissions
from ashchat_operator.backends import external
from ashchat_operator.backends.addresses import mongodb_uri, rabbitmq_uri, redis_uri
from ashchat_operator.backends.base import Backend
from ashchat_operator.backends.rabbitmq import desired as rabbitmq
from ashchat_operator.backends.rabbitmq.plan import Definitions, plan
from ashchat_operator.backends.rabbitmq.plan import definitions as rabbitmq_document
from ashchat_operator.backends.redis.desired import render_aclfile
from ashchat_operator.credentials.bundle import (
    Credentials,
    admin_secret,
    key_ring_copy_secret,
    key_ring_secret,
    logins_secret,
    service_secret,
    signing_keys_copy_secret,
    signing_keys_secret,
)
from ashchat_operator.render.objects import config_map, metadata
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext, child, host
from ashchat_operator.resource.types import Object

ACLFILE_KEY: Final = "users.acl"
DEFINITIONS_KEY: Final = "definitions.json"
_SALT_BYTES: Final = 4


def secret(
    ash: AshChat, component: str, name: str, data: Mapping[str, bytes], *, retained: bool
) -> Object:
    """Return a Secret; a `retained` one is not deleted with the resource."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(ash, component, name=name, retained=retained),
        "type": "Opaque",
        "data": {key: base64.b64encode(value).decode() for key, value in sorted(data.items())},
    }


def revision(secret_text: str) -> str:
    """Return a digest that changes with a generated secret without revealing it.

    Only for secrets of 128 random bits or more: a password that a user chose could be guessed
    from its digest.
    """
    return hashlib.sha256(secret_text.encode()).hexdigest()[:12]


def admins(ash: AshChat, credentials: Credentials) -> list[Object]:
    """Return the Secrets with the logins of the backends' administrators."""
    result = []
    for backend, admin in credentials.admins.items():
        data = {"username": admin.username.encode(), "password": admin.password.encode()}
        if backend is Backend.RABBITMQ:
            data["erlang-cookie"] = credentials.erlang_cookie.encode()
        name = admin_secret(ash, backend)
        result.append(secret(ash, backend.value, name, data, retained=True))
    return result


def service_files(
    ash: AshChat, service: Service, credentials: Credentials, context: ClusterContext
) -> dict[str, bytes]:
    """Return the files that a service mounts: connection URIs, each with a revision."""
    login = credentials.logins[service]
    files = {"username": login.username, "password": login.password}
    brought = external.blocks(ash)
    outside: dict[str, bytes] = {}
    if permissions(service) is not None:
        if Backend.RABBITMQ in brought:
            outside |= _external(ash, service, Backend.RABBITMQ, credentials)
        else:
            files["rabbitmq.uri"] = rabbitmq_uri(host(ash, "rabbitmq", context), login)
    if service in MONGODB_DATABASES:
        database = MONGODB_DATABASES[service]
        if Backend.MONGODB in brought:
            outside |= _external(ash, service, Backend.MONGODB, credentials)
        else:
            files["mongodb.uri"] = mongodb_uri(host(ash, "mongodb", context), login, database)
    for grant in REDIS_GRANTS:
        if grant.service is service:
            instance = Backend.CACHE if grant.cache else Backend.REDIS
            if instance in brought:
                outside |= _external(ash, service, instance, credentials)
            else:
                files[f"{grant.credential}.uri"] = redis_uri(
                    host(ash, instance.value, context), login
                )
    if service is Service.EMAIL:
        files["code.key"] = credentials.code_key
    for name in [name for name in files if name.endswith((".uri", ".key"))]:
        files[f"{name.rpartition('.')[0]}.revision"] = revision(files[name])
    encoded = {name: text.encode() for name, text in files.items()}
    return encoded | outside | dict(credentials.provided.get(service, {}))


def _external(
    ash: AshChat, service: Service, backend: Backend, credentials: Credentials
) -> dict[str, bytes]:
    """Return the files of an external backend.

    Until new settings are proven to work, the service retains its current files: an address, a CA
    or a login that may not work never replaces one that does.
    """
    data = credentials.held.get(service_secret(ash, service), {})
    held = {name: data[name] for name in external.file_names(backend, service) if name in data}
    found = credentials.external.get(backend)
    if found is None or (held and backend not in credentials.proven):
        return held
    return external.files(found, service, credentials.logins[service])


def services(ash: AshChat, credentials: Credentials, context: ClusterContext) -> list[Object]:
    """Return the Secrets that the services mount."""
    return [
        secret(
            ash,
            service.value,
            service_secret(ash, service),
            service_files(ash, service, credentials, context),
            retained=True,
        )
        for service in Service
    ]


def logins(ash: AshChat, credentials: Credentials) -> Object:
    """Return the Secret with all logins; only the operator reads it."""
    known = (*credentials.at_backends, *credentials.former)
    data = {login.username: login.password.encode() for login in known}
    return secret(ash, "rotation", logins_secret(ash), data, retained=True)


def signing_keys(ash: AshChat, credentials: Credentials) -> list[Object]:
    """Return the Secret with the keys that sign tokens, which auth mounts, and its copy."""
    files = credentials.signing_keys.files()
    names = (signing_keys_secret(ash), signing_keys_copy_secret(ash))
    return [secret(ash, "auth", name, files, retained=True) for name in names]


def key_ring(ash: AshChat, credentials: Credentials) -> list[Object]:
    """Return the Secret with the keys for secrets at rest, and its copy; empty if all are lost."""
    files = credentials.key_ring.files()
    names = (key_ring_secret(ash), key_ring_copy_secret(ash)) if files else ()
    return [secret(ash, "auth", name, files, retained=True) for name in names]


def jwks(ash: AshChat, credentials: Credentials) -> Object:
    """Return the ConfigMap with the public keys, so that tokens verify while auth is down."""
    data = {"jwks.json": credentials.signing_keys.jwks()}
    return config_map(ash, "auth", data, name=child(ash, "jwks"))


def rabbitmq_definitions(ash: AshChat, credentials: Credentials) -> Object:
    """Return the Secret that RabbitMQ imports at every start: administrator and topology.

    A running broker is changed over the management API. The file is for a broker that starts,
    even if it lost its volume and no operator is running. The services' users are not in it,
    because a restart must not re-create a user that was just retired.
    https://www.rabbitmq.com/docs/definitions#import-on-boot
    """
    admin = credentials.admins[Backend.RABBITMQ]
    # The salt is derived from the password, so that rendering is deterministic.
    salt = hashlib.sha256(f"salt:{admin.password}".encode()).digest()[:_SALT_BYTES]
    account = rabbitmq.account(admin.password, tags=["administrator"], salt=salt)
    user = {"name": admin.username, **account}
    definitions = {"users": [user], **_topology(admin.username)}
    text = json.dumps(definitions, separators=(",", ":"), sort_keys=True) + "\n"
    name = child(ash, "rabbitmq-definitions")
    return secret(ash, "rabbitmq", name, {DEFINITIONS_KEY: text.encode()}, retained=False)


@lru_cache(maxsize=1)
def _topology(admin: str) -> Definitions:
    """Return the topology of a new broker without users, which is the same for every AshChat."""
    whole = plan(rabbitmq.desired(VHOST, ()), rabbitmq.VirtualHostState(vhost=None), admin)
    return rabbitmq_document(whole.actions)


def redis_acl(ash: AshChat, credentials: Credentials, backend: Backend) -> Object:
    """Return the Secret with a Redis instance's users, as SHA-256 hashes.

    A running server is changed with ACL SETUSER; the file is for a server that starts.
    https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/#use-an-external-acl-file
    """
    admin = credentials.admins[backend]
    text = render_aclfile(
        admin=(admin.username, admin.password),
        logins=credentials.at_backends,
        cache=backend is Backend.CACHE,
    )
    name = child(ash, f"{backend}-acl")
    return secret(ash, backend.value, name, {ACLFILE_KEY: text.encode()}, retained=False)
