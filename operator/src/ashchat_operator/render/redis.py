"""redis: what expires, and the fan-out between chat pods. It never evicts.

Its users are in a mounted aclfile of hashes, since users made at run time vanish with a
restart; `default` is off. The append-only file is synced every second: a killed process
loses nothing it answered for, a crashed machine at most that second
(https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/).
"""

from collections.abc import Mapping
from typing import Final

from ashchat_core.api.names import Annotation
from ashchat_operator.backends.base import Backend
from ashchat_operator.credentials.bundle import Credentials
from ashchat_operator.render.objects import claim_template, config_map, service, stateful_set
from ashchat_operator.render.pods import (
    BACKEND_UID,
    alone,
    config_revision,
    config_volume,
    container_security,
    empty_dir,
    mount,
    pod_template,
    port,
    resources,
    secret_volume,
)
from ashchat_operator.render.secrets import ACLFILE_KEY
from ashchat_operator.resource.model import AshChat, Workload
from ashchat_operator.resource.names import ClusterContext, child
from ashchat_operator.resource.quantity import quantity
from ashchat_operator.resource.types import Object

PORT: Final = 6379
CONFIG_DIR: Final = "/etc/redis"
ACL_DIR: Final = "/etc/ashchat/acl"
DATA_DIR: Final = "/data"

COMMON: Final = f"""\
# Made by the operator. https://redis.io/docs/latest/operate/oss_and_stack/management/config/
port {PORT}
bind * -::*
# Every user has a password, `default` is off: no need for the guard against open instances.
protected-mode no
aclfile {ACL_DIR}/{ACLFILE_KEY}
dir {DATA_DIR}
tcp-keepalive 60
"""

PROBE: Final = (
    "redis-cli",
    "-e",
    "-p",
    str(PORT),
    "--user",
    "probe",
    "--pass",
    "-",
    "--no-auth-warning",
    "ping",
)
"""The user `probe` may do nothing but PING; while the data loads, the answer is an error."""


def configuration(max_memory: str) -> str:
    """Return the configuration of the instance that loses nothing."""
    return (
        COMMON
        + "appendonly yes\nappendfsync everysec\nsave 3600 1\n"
        + f"maxmemory {int(quantity(max_memory))}\nmaxmemory-policy noeviction\n"
    )


def container(image: str, workload: Workload, max_memory: str) -> Object:
    """Return the container of either instance; the limit leaves room for a fork's copies."""
    limit = f"{int(quantity(max_memory) * 2 / 2**20) + 64}Mi"
    probe = {"exec": {"command": list(PROBE)}, "timeoutSeconds": 3}
    return {
        "name": "redis",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": alone(DATA_DIR, "redis-server", f"{CONFIG_DIR}/redis.conf"),
        "ports": [port("redis", PORT)],
        "resources": resources(
            {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": limit}},
            workload.resources,
        ),
        "securityContext": container_security(),
        "volumeMounts": [
            mount("data", DATA_DIR, read_only=False),
            mount("config", CONFIG_DIR),
            mount("acl", ACL_DIR),
        ],
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {**probe, "periodSeconds": 5},
        "livenessProbe": {
            "tcpSocket": {"port": PORT},
            "timeoutSeconds": 5,
            "periodSeconds": 20,
            "failureThreshold": 6,
        },
    }


def template(
    ash: AshChat,
    backend: Backend,
    credentials: Credentials,
    running: Object,
    files: Mapping[str, str],
    *,
    stored: bool,
) -> Object:
    """Return the pod template of either instance."""
    volumes = [
        config_volume("config", child(ash, backend.value)),
        secret_volume("acl", child(ash, f"{backend}-acl")),
    ]
    if not stored:
        volumes.append(empty_dir("data"))
    return pod_template(
        ash,
        backend.value,
        uid=BACKEND_UID,
        containers=[running],
        volumes=volumes,
        grace_seconds=30,
        annotations={
            Annotation.ADMIN_REVISION.value: credentials.admins[backend].revision,
            **config_revision(files),
        },
    )


def render(ash: AshChat, context: ClusterContext, credentials: Credentials) -> list[Object]:
    """Return the instance's configuration, StatefulSet and Service."""
    spec = ash.spec.redis.managed
    running = container(spec.image or context.images["redis"], spec, spec.max_memory)
    claim = claim_template(ash, "redis", spec.storage.size, spec.storage.storage_class_name)
    files = {"redis.conf": configuration(spec.max_memory)}
    pods = template(ash, Backend.REDIS, credentials, running, files, stored=True)
    return [
        config_map(ash, "redis", files),
        stateful_set(ash, "redis", template=pods, claim=claim),
        service(ash, "redis", {"redis": PORT}),
    ]
