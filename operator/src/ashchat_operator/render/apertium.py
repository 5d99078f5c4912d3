"""apertium: the translation engine (https://wiki.apertium.org/wiki/Apertium-apy)."""

from typing import Final

from ashchat_operator.render.objects import deployment, service
from ashchat_operator.render.pods import (
    SERVICE_UID,
    container_security,
    empty_dir,
    env,
    mount,
    pod_template,
    port,
    resources,
)
from ashchat_operator.render.scaling import around
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext
from ashchat_operator.resource.types import Object

PORT: Final = 2737
IDLE_SECONDS: Final = 300
"""How long the engine keeps the processes of a pair that is not used; all pairs take 800 MB."""


def render(ash: AshChat, context: ClusterContext) -> list[Object]:
    """Return the engine's Deployment and Service.

    It runs with either provider: with Google it is asked when Google cannot answer.
    """
    spec = ash.spec.translate.apertium
    probe = {"tcpSocket": {"port": PORT}, "timeoutSeconds": 3}
    container: Object = {
        "name": "apertium",
        "image": spec.image or context.images["apertium"],
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "apertium-apy",
            "-p",
            str(PORT),
            "-m",
            str(IDLE_SECONDS),
            "/usr/share/apertium",
        ],
        "ports": [port("http", PORT)],
        "env": env({"LANG": "C.UTF-8", "HOME": "/tmp"}),  # noqa: S108 (the pod's own emptyDir)
        "resources": resources(
            {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "1Gi"}},
            spec.resources,
        ),
        "securityContext": container_security(),
        "volumeMounts": [mount("tmp", "/tmp", read_only=False)],  # noqa: S108
        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**probe, "periodSeconds": 5},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 6},
    }
    template = pod_template(
        ash,
        "apertium",
        uid=SERVICE_UID,
        containers=[container],
        volumes=[empty_dir("tmp")],
        grace_seconds=15,
    )
    return [
        deployment(ash, "apertium", replicas=spec.replicas, template=template),
        *around(ash, "apertium", spec),
        service(ash, "apertium", {"http": PORT}),
    ]
