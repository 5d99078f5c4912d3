"""Pod templates: security contexts, probes, resources, volumes.

Every pod satisfies the restricted Pod Security Standard
(https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted) and has a
read-only root and no service account token.

Fields whose defaults are part of a list's merge key (a port's protocol) are always written
out, because server-side apply identifies the item by them (KEP-555).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ashchat_core import origins
from ashchat_core.api.names import Annotation
from ashchat_operator.resource.enums import ExposureType
from ashchat_operator.resource.model import AshChat, Resources
from ashchat_operator.resource.names import (
    CREDENTIALS_DIR,
    PRIVATE_PORT,
    PUBLIC_PORT,
    ClusterContext,
    child,
    labels,
)
from ashchat_operator.resource.quantity import quantity
from ashchat_operator.resource.types import Object

SERVICE_UID: Final = 10001

BACKEND_UID: Final = 999
"""The user of rabbitmq, redis and postgres in their official images and in ours."""

SCALED_CPU: Final = "200m"
"""The requests of a pod if an autoscaler sets the number of pods."""


def trusted_proxies(ash: AshChat, context: ClusterContext) -> str:
    """Return whose X-Forwarded-For the services trust (CIDRs, comma-separated).

    With the edge, which is a pod and forwards exactly one address, these are the pod networks.
    Without it, they are the resource's trusted proxies, or the pod networks if it has none.
    """
    named = ash.spec.exposure.trusted_proxies
    if ash.spec.exposure.type is ExposureType.EDGE or not named:
        return context.pod_cidrs
    return ",".join(named)


def allowed_origins(ash: AshChat) -> dict[str, str]:
    """Return the setting of the origins whose pages may call the APIs and open sockets.

    If none is known, the services allow only pages of the requested host.
    """
    known = [origin.text for origin in known_origins(ash)]
    return {"ASHCHAT_ALLOWED_ORIGINS": ",".join(known)} if known else {}


def known_origins(ash: AshChat) -> list[origins.Origin]:
    """Return the origins of the resource in normal form, without host names that are not valid."""
    named = [*filter(None, [ash.spec.public_url]), *ash.spec.exposure.allowed_origins]
    return list(dict.fromkeys(filter(None, map(origins.parse, named))))


def resources(defaults: Object, wanted: Resources) -> Object:
    """Return requests and limits: those of the resource, with the operator's as defaults.

    The API server rejects a limit below the request, so such a limit also lowers the default
    request.
    """
    limits = {**defaults.get("limits", {}), **wanted.limits}
    requests = {**defaults.get("requests", {}), **wanted.requests}
    for key, limit in limits.items():
        if key in requests and key not in wanted.requests:
            requests[key] = min(requests[key], limit, key=quantity)
    return {"requests": requests, "limits": limits}


def service_resources(wanted: Resources, *, cpu: str = "20m", scaled: bool = False) -> Object:
    """Return the resources of a Python service. A CPU limit would slow down its start.

    An autoscaler measures by the request: with one for an idle pod, any load would be an
    overload.
    """
    cpu = SCALED_CPU if scaled else cpu
    return resources(
        {"requests": {"cpu": cpu, "memory": "96Mi"}, "limits": {"memory": "384Mi"}}, wanted
    )


def container_security() -> Object:
    """Return the security context of every container."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def pod_security(uid: int) -> Object:
    """Return the security context of a pod that runs as `uid`.

    `OnRootMismatch`: otherwise the kubelet would make the Erlang cookie group-readable at
    every start, which RabbitMQ refuses (and large volumes would start slowly).
    """
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def port(name: str, number: int) -> Object:
    """Return a container's TCP port."""
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def env(values: Mapping[str, str]) -> list[Object]:
    """Return environment variables, which must not contain secrets."""
    return [{"name": name, "value": value} for name, value in values.items()]


def pod_name_env() -> Object:
    """Return the variable with the pod's name (downward API)."""
    return {
        "name": "ASHCHAT_POD_NAME",
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
    }


def empty_dir(name: str, size: str = "64Mi") -> Object:
    """Return a volume for temporary files."""
    return {"name": name, "emptyDir": {"sizeLimit": size}}


def secret_volume(
    name: str, secret: str, keys: Sequence[str] = (), *, optional: bool = False
) -> Object:
    """Return a volume of a Secret's files, readable by the pod's group only.

    Args:
        name: The volume's.
        secret: The Secret's.
        keys: Which of its files; all where none is named.
        optional: A pod starts without it too; the files come when it does.
    """
    source: Object = {"secretName": secret, "defaultMode": 0o440}
    if optional:
        source["optional"] = True
    if keys:
        source["items"] = [{"key": key, "path": key} for key in keys]
    return {"name": name, "secret": source}


def config_volume(name: str, config_map: str) -> Object:
    """Return a volume of a ConfigMap's files."""
    return {"name": name, "configMap": {"name": config_map, "defaultMode": 0o444}}


def mount(name: str, path: str, *, read_only: bool = True, sub_path: str | None = None) -> Object:
    """Return a mount of a volume."""
    result: Object = {"name": name, "mountPath": path}
    if read_only:
        result["readOnly"] = True
    if sub_path is not None:
        result["subPath"] = sub_path
    return result


def http_probes(path_port: int = PRIVATE_PORT, *, readiness: str = "/readyz") -> Object:
    """Return the probes of a process with /livez and /readyz.

    The start-up probe asks every second, so that a pod is ready as soon as it can be, and
    gives a slow node two minutes; the liveness probe is patient, since it asks only
    whether the event loop turns.
    """
    return {
        "startupProbe": {
            "httpGet": {"path": "/livez", "port": path_port, "scheme": "HTTP"},
            "periodSeconds": 1,
            "timeoutSeconds": 3,
            "failureThreshold": 120,
        },
        "readinessProbe": {
            "httpGet": {"path": readiness, "port": path_port, "scheme": "HTTP"},
            "periodSeconds": 2,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": path_port, "scheme": "HTTP"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


# The keywords mirror the fields of a pod spec.
def pod_template(
    ash: AshChat,
    component: str,
    *,
    uid: int,
    containers: Sequence[Object],
    volumes: Sequence[Object],
    grace_seconds: int,
    init_containers: Sequence[Object] = (),
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """Return a pod template that satisfies the restricted profile."""
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(uid),
        "terminationGracePeriodSeconds": grace_seconds,
        "containers": list(containers),
        "volumes": list(volumes),
    }
    if init_containers:
        spec["initContainers"] = list(init_containers)
    described: Object = {"labels": labels(ash, component)}
    if annotations:
        described["annotations"] = dict(annotations)
    return {"metadata": described, "spec": spec}


def config_revision(files: Mapping[str, str]) -> dict[str, str]:
    """Return the annotation that restarts pods when files change that they read only once."""
    text = json.dumps(files, sort_keys=True)
    return {Annotation.CONFIG_REVISION.value: hashlib.sha256(text.encode()).hexdigest()[:16]}


def alone(data_dir: str, *command: str) -> list[str]:
    """Return a command that runs only while no other process uses the same files.

    A pod that was deleted by force is gone for the API server at once, and its successor
    starts while the old process may still write. None of the backends notices on its own:
    their lock files name process ids, which mean nothing in another container. So the
    successor waits for a lock that ends with the process that holds it (flock(1); without a
    fork, so that the backend itself is process 1 and gets the signals).
    """
    return ["flock", "--no-fork", f"{data_dir}/.ashchat.lock", *command]


@dataclass(frozen=True, slots=True)
class ServicePod:
    """What differs between the pods of the five services."""

    component: str
    image: str
    resources: Object
    public: bool
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[Object] = ()
    mounts: Sequence[Object] = ()


def service_template(ash: AshChat, pod: ServicePod) -> Object:
    """Return the pod template of one of the five services.

    The pause before SIGTERM lets the endpoints' removal reach every node first
    (KEP-3960). From SIGTERM to their end the services need at most 24 s, and chat, which
    closes its sockets before, 6 s more, or 11 s where Redis is away.
    """
    ports = [port("private", PRIVATE_PORT)]
    if pod.public:
        ports.insert(0, port("http", PUBLIC_PORT))
    common = {
        "ASHCHAT_LOG_LEVEL": ash.spec.log_level.value.upper(),
        "ASHCHAT_CREDENTIALS_DIR": CREDENTIALS_DIR,
    }
    container: Object = {
        "name": pod.component,
        "image": pod.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": ports,
        "env": [pod_name_env(), *env({**common, **pod.env})],
        "resources": pod.resources,
        "securityContext": container_security(),
        "volumeMounts": [
            mount("tmp", "/tmp", read_only=False),  # noqa: S108 (the pod's own emptyDir)
            mount("credentials", CREDENTIALS_DIR),
            *pod.mounts,
        ],
        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
        **http_probes(),
    }
    return pod_template(
        ash,
        pod.component,
        uid=SERVICE_UID,
        containers=[container],
        volumes=[
            empty_dir("tmp"),
            secret_volume("credentials", child(ash, f"{pod.component}-credentials")),
            *pod.volumes,
        ],
        grace_seconds=40,
    )


def service_ports(*, public: bool) -> dict[str, int]:
    """Return the ports of a service's Service."""
    return {"http": PUBLIC_PORT, "private": PRIVATE_PORT} if public else {"private": PRIVATE_PORT}
