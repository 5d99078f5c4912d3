"""RabbitMQ: one node with a volume.

- Its administrator and the topology come from a definitions file that is imported at every
  start, before anybody is let in; what differs later is declared over the management API.
- The Erlang cookie must be a file of mode 0400 that belongs to the node's user, which a
  mounted Secret cannot be: an init container copies it.
- Readiness is the AMQP port; there is no liveness probe: a broker that is slow to start or
  blocked must not be killed for it (https://www.rabbitmq.com/docs/monitoring#health-checks).
"""

from typing import Final

from ashchat_core.api.names import Annotation
from ashchat_operator.backends.base import Backend
from ashchat_operator.credentials.bundle import Credentials, admin_secret
from ashchat_operator.render.objects import claim_template, config_map, service, stateful_set
from ashchat_operator.render.pods import (
    BACKEND_UID,
    alone,
    config_revision,
    config_volume,
    container_security,
    empty_dir,
    env,
    mount,
    pod_template,
    port,
    resources,
    secret_volume,
)
from ashchat_operator.render.secrets import DEFINITIONS_KEY
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext, child
from ashchat_operator.resource.types import Object

AMQP_PORT: Final = 5672
MANAGEMENT_PORT: Final = 15672
PROMETHEUS_PORT: Final = 15692

DATA_DIR: Final = "/var/lib/rabbitmq"
DEFINITIONS_DIR: Final = "/etc/ashchat/definitions"
COOKIE_DIR: Final = "/etc/ashchat/cookie"

CONFIG: Final = f"""\
# Made by the operator. https://www.rabbitmq.com/docs/configure
listeners.tcp.default = {AMQP_PORT}
management.tcp.port = {MANAGEMENT_PORT}
prometheus.tcp.port = {PROMETHEUS_PORT}
log.console = true
log.console.level = info
log.file = false
# Imported at every start: the administrator's password is always the Secret's.
load_definitions = {DEFINITIONS_DIR}/{DEFINITIONS_KEY}
# Publishers are held up before the container's memory limit is reached.
vm_memory_high_watermark.relative = 0.6
disk_free_limit.absolute = 200MB
"""

ENABLED_PLUGINS: Final = "[rabbitmq_management,rabbitmq_prometheus].\n"

FILES: Final = {"10-ashchat.conf": CONFIG, "enabled_plugins": ENABLED_PLUGINS}

COPY_COOKIE: Final = (
    f"umask 077; rm -f {DATA_DIR}/.erlang.cookie;"
    f" cp {COOKIE_DIR}/erlang-cookie {DATA_DIR}/.erlang.cookie;"
    f" chmod 0400 {DATA_DIR}/.erlang.cookie"
)

# Schedulers that spin while they wait for work cost a CPU share on small nodes.
# https://www.rabbitmq.com/docs/runtime#busy-waiting
ERLANG_ARGUMENTS: Final = "+sbwt none +sbwtdcpu none +sbwtdio none"


def render(ash: AshChat, context: ClusterContext, credentials: Credentials) -> list[Object]:
    """Return the broker's configuration, StatefulSet and Service."""
    spec = ash.spec.rabbitmq.managed
    image = spec.image or context.images["rabbitmq"]
    probe = {"tcpSocket": {"port": AMQP_PORT}, "timeoutSeconds": 3}
    container: Object = {
        "name": "rabbitmq",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": alone(DATA_DIR, "rabbitmq-server"),
        "ports": [
            port("amqp", AMQP_PORT),
            port("management", MANAGEMENT_PORT),
            port("prometheus", PROMETHEUS_PORT),
        ],
        "env": env(
            {
                "HOME": DATA_DIR,
                "LANG": "C.UTF-8",
                "RABBITMQ_LOGS": "-",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
            }
        ),
        "resources": resources(
            {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "768Mi"}},
            spec.resources,
        ),
        "securityContext": container_security(),
        "volumeMounts": [
            mount("data", DATA_DIR, read_only=False),
            mount("config", "/etc/rabbitmq/conf.d/10-ashchat.conf", sub_path="10-ashchat.conf"),
            mount("config", "/etc/rabbitmq/enabled_plugins", sub_path="enabled_plugins"),
            mount("definitions", DEFINITIONS_DIR),
            mount("log", "/var/log/rabbitmq", read_only=False),
            mount("tmp", "/tmp", read_only=False),  # noqa: S108 (the pod's own emptyDir)
        ],
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {**probe, "periodSeconds": 5},
    }
    cookie: Object = {
        "name": "erlang-cookie",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-ec", COPY_COOKIE],
        "resources": resources(
            {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            type(spec.resources)(),
        ),
        "securityContext": container_security(),
        "volumeMounts": [mount("data", DATA_DIR, read_only=False), mount("cookie", COOKIE_DIR)],
    }
    template = pod_template(
        ash,
        "rabbitmq",
        uid=BACKEND_UID,
        init_containers=[cookie],
        containers=[container],
        volumes=[
            config_volume("config", child(ash, "rabbitmq")),
            secret_volume("definitions", child(ash, "rabbitmq-definitions")),
            secret_volume("cookie", admin_secret(ash, Backend.RABBITMQ), ["erlang-cookie"]),
            empty_dir("log"),
            empty_dir("tmp"),
        ],
        grace_seconds=60,
        annotations={
            Annotation.ADMIN_REVISION.value: credentials.admins[Backend.RABBITMQ].revision,
            **config_revision(FILES),
        },
    )
    storage = spec.storage
    claim = claim_template(ash, "rabbitmq", storage.size, storage.storage_class_name)
    return [
        config_map(ash, "rabbitmq", FILES),
        stateful_set(ash, "rabbitmq", template=template, claim=claim),
        service(
            ash,
            "rabbitmq",
            {"amqp": AMQP_PORT, "management": MANAGEMENT_PORT, "prometheus": PROMETHEUS_PORT},
        ),
    ]
