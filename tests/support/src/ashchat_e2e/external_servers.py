"""External RabbitMQ, Redis and MongoDB: pods with TLS, from the images of the managed ones.

Each has an administrator (`BOSS`); RabbitMQ and Redis also have a less privileged user (`HELPER`).
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ashchat_dev.authority import Authority
from ashchat_dev.kube.cluster import Cluster, pod_ready
from ashchat_dev.waiting import until

Object = dict[str, Any]

BOSS: Final = "boss"
HELPER: Final = "helper"
SERVERS: Final = ("rabbitmq", "redis", "mongodb")
PORTS: Final = {"rabbitmq": (5671, 15671), "redis": (6379,), "mongodb": (27017,)}
GIVEN_VHOST: Final = "given"
"""An existing virtual host in which `HELPER` has all permissions."""

UP_S: Final = 120.0
TLS: Final = "/tls"

_RABBITMQ: Final = f"""\
listeners.tcp = none
listeners.ssl.default = 5671
ssl_options.certfile = {TLS}/tls.crt
ssl_options.keyfile = {TLS}/tls.key
management.ssl.port = 15671
management.ssl.certfile = {TLS}/tls.crt
management.ssl.keyfile = {TLS}/tls.key
load_definitions = {TLS}/definitions.json
log.console = true
log.file = false
"""
_REDIS: Final = f"""\
port 0
tls-port 6379
tls-cert-file {TLS}/tls.crt
tls-key-file {TLS}/tls.key
tls-auth-clients no
save ""
user default off
"""
_LOW: Final = "+sbwt none +sbwtdcpu none +sbwtdio none"
_SECURITY: Final = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@dataclass
class Outside:
    """The servers in a namespace, and the Secrets about them for AshChats in that namespace."""

    cluster: Cluster
    namespace: str
    authority: Authority = field(default_factory=Authority)
    addresses: dict[str, str] = field(default_factory=dict)
    """The cluster IPs of the servers' Services."""
    words: dict[str, str] = field(
        default_factory=lambda: {who: secrets.token_hex(16) for who in (BOSS, HELPER)}
    )

    def host(self, server: str) -> str:
        """Return a server's host name."""
        return f"{server}.{self.namespace}.svc"

    def secret(
        self, server: str, who: str = BOSS, *, by_address: bool = False, **changes: str
    ) -> dict[str, str]:
        """Return the data of a Secret that describes a server to the operator.

        The address makes the server reachable from outside the cluster too, on the node.
        """
        word = self.words[who]
        host = self.addresses[server] if by_address else self.host(server)
        match server:
            case "rabbitmq":
                path = f"/{GIVEN_VHOST}" if who == HELPER else ""
                found = {
                    "uri": f"amqps://{who}:{word}@{host}{path}",
                    "management-url": f"https://{host}:15671",
                }
            case "redis":
                found = {"host": host, "username": who, "password": word}
            case _:
                found = {"uri": f"mongodb://{who}:{word}@{host}/"}
        return found | changes

    async def put(self, name: str, text: Mapping[str, str]) -> None:
        """Create or replace a Secret."""
        await self.cluster.put_secret(name, text, namespace=self.namespace)

    async def begin(self) -> None:
        """Create the namespace, the Secrets and the pods, without waiting.

        Raises:
            ApiError: The API server rejected a request.
        """
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": self.namespace, "labels": labels}
        await self.cluster.create(
            "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        )
        await self.put("authority", {"ca.crt": self.authority.certificate})
        await self.put("another-authority", {"ca.crt": Authority().certificate})
        for server in SERVERS:
            await self.cluster.create("services", _service(server), namespace=self.namespace)
            found = await self.cluster.read("services", server, namespace=self.namespace)
            self.addresses[server] = found["spec"]["clusterIP"]
            pair = self.authority.server(self.host(server), self.addresses[server])
            files = {"tls.crt": pair.certificate, "tls.key": pair.key, "password": self.words[BOSS]}
            await self.put(f"{server}-files", files | self._files(server))
            await self.put(server, self.secret(server))
            pod = await getattr(self, f"_{server}")()
            await self.cluster.create("pods", _pod(server, pod), namespace=self.namespace)

    async def up(self) -> None:
        """Wait until every server is ready.

        Raises:
            AssertionError: One is not ready within two minutes.
        """

        async def ready() -> bool:
            pods = [
                await self.cluster.read("pods", server, namespace=self.namespace)
                for server in SERVERS
            ]
            return all(pod_ready(pod) for pod in pods)

        await until(ready, within=UP_S, what="the external servers ready")

    def _files(self, server: str) -> dict[str, str]:
        if server == "redis":
            users = (
                f"user {BOSS} on >{self.words[BOSS]} ~* &* +@all\n"
                f"user {HELPER} on >{self.words[HELPER]} ~given_* &given_* +@all -@admin\n"
            )
            return {"redis.conf": _REDIS + users}
        if server != "rabbitmq":
            return {}
        every = {"configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": GIVEN_VHOST}],
            "users": [
                {"name": name, "password": self.words[name], "tags": [tag]}
                for name, tag in ((BOSS, "administrator"), (HELPER, "policymaker"))
            ],
            "permissions": [{"user": HELPER, "vhost": GIVEN_VHOST, **every}],
        }
        return {
            "rabbitmq.conf": _RABBITMQ,
            "definitions.json": json.dumps(definitions),
            "enabled_plugins": "[rabbitmq_management].\n",
        }

    async def _image(self, workload: str, container: str) -> str:
        found = await self.cluster.read("statefulsets", f"{self.cluster.name}-{workload}")
        pod = found["spec"]["template"]["spec"]
        every = [*pod["containers"], *pod.get("initContainers", [])]
        return str(next(one["image"] for one in every if one["name"] == container))

    async def _rabbitmq(self) -> list[Object]:
        run = f"cp {TLS}/rabbitmq.conf {TLS}/enabled_plugins /etc/rabbitmq; exec rabbitmq-server"
        return [
            {
                "name": "rabbitmq",
                "image": await self._image("rabbitmq", "rabbitmq"),
                "command": ["sh", "-ec", run],
                "env": [
                    {"name": "HOME", "value": "/var/lib/rabbitmq"},
                    {"name": "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "value": _LOW},
                ],
                "readinessProbe": {"tcpSocket": {"port": 5671}, "periodSeconds": 1},
                "volumeMounts": _mounts("/var/lib/rabbitmq"),
            }
        ]

    async def _redis(self) -> list[Object]:
        return [
            {
                "name": "redis",
                "image": await self._image("redis", "redis"),
                "command": ["redis-server", f"{TLS}/redis.conf"],
                "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1},
                "volumeMounts": _mounts("/data"),
            }
        ]

    async def _mongodb(self) -> list[Object]:
        """Return FerretDB and its PostgreSQL, or MongoDB, like the managed one."""
        resource = await self.cluster.resource()
        if resource["spec"]["mongodb"]["managed"]["engine"] == "MongoDB":
            run = (
                f"cat {TLS}/tls.crt {TLS}/tls.key > /data/db/tls.pem; exec docker-entrypoint.sh"
                " mongod --auth --bind_ip_all --tlsMode requireTLS"
                " --tlsCertificateKeyFile /data/db/tls.pem"
            )
            return [
                {
                    "name": "mongodb",
                    "image": await self._image("mongodb", "mongodb"),
                    "command": ["sh", "-ec", run],
                    "env": [
                        {"name": "MONGO_INITDB_ROOT_USERNAME", "value": BOSS},
                        {"name": "MONGO_INITDB_ROOT_PASSWORD_FILE", "value": f"{TLS}/password"},
                    ],
                    "readinessProbe": {"tcpSocket": {"port": 27017}, "periodSeconds": 1},
                    "volumeMounts": _mounts("/data/db"),
                }
            ]
        return [
            {
                "name": "ferretdb",
                "image": await self._image("mongodb", "ferretdb"),
                "command": ["ferretdb"],
                "args": [
                    "--listen-addr=",
                    "--listen-tls=:27017",
                    f"--listen-tls-cert-file={TLS}/tls.crt",
                    f"--listen-tls-key-file={TLS}/tls.key",
                    f"--postgresql-url=postgres://{BOSS}@127.0.0.1:5432/postgres",
                    "--state-dir=/tmp",
                    "--telemetry=disable",
                    "--debug-addr=:8088",
                    "--log-level=WARN",
                ],
                "readinessProbe": {
                    "httpGet": {"path": "/debug/readyz", "port": 8088},
                    "periodSeconds": 1,
                    "timeoutSeconds": 5,
                },
                "volumeMounts": _mounts("/tmp"),  # noqa: S108 (in the pod)
            },
            {
                "name": "postgresql",
                "image": await self._image("mongodb", "postgresql"),
                "command": ["entrypoint.sh"],
                "env": [
                    {"name": "POSTGRES_USER", "value": BOSS},
                    {"name": "POSTGRES_PASSWORD_FILE", "value": f"{TLS}/password"},
                ],
                "volumeMounts": _mounts("/var/lib/postgresql/data"),
            },
        ]


def _mounts(data: str) -> list[Object]:
    """Return a container's mounts; containers of one pod use separate directories of a volume."""
    return [
        {"name": "files", "mountPath": TLS},
        {"name": "data", "mountPath": data, "subPath": data.strip("/").replace("/", "-")},
    ]


def _service(name: str) -> Object:
    ports = [{"name": f"p{number}", "port": number} for number in PORTS[name]]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def _pod(name: str, containers: list[Object]) -> Object:
    for container in containers:
        container |= {
            "imagePullPolicy": "IfNotPresent",
            "securityContext": _SECURITY,
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 999,
                "runAsGroup": 999,
                "fsGroup": 999,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": containers,
            "volumes": [
                {"name": "files", "secret": {"secretName": f"{name}-files", "defaultMode": 0o440}},
                {"name": "data", "emptyDir": {}},
            ],
        },
    }
