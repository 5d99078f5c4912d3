"""mongodb: accounts and conversations, by one of two engines.

FerretDB: PostgreSQL with the DocumentDB extension as a native sidecar (KEP-753), FerretDB in
front. A sidecar, so that FerretDB starts when PostgreSQL is really there, instead of failing
and being put off. PostgreSQL listens on the pod's loopback only; FerretDB checks each
client's password against PostgreSQL's roles.

MongoDB: the official image. Its MONGO_INITDB_* variables work at the first start only, so a
small script sets the administrator at every start: mongod runs on loopback without
authorization for that moment, then for good with it.
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
from ashchat_operator.resource.enums import Engine
from ashchat_operator.resource.model import AshChat, Resources
from ashchat_operator.resource.names import ClusterContext, child
from ashchat_operator.resource.types import Object

PORT: Final = 27017
DEBUG_PORT: Final = 8088
POSTGRESQL_PORT: Final = 5432
ADMIN_DIR: Final = "/etc/ashchat/admin"
SCRIPT_DIR: Final = "/etc/ashchat/start"
POSTGRESQL_DATA: Final = "/var/lib/postgresql/data"
MONGODB_DATA: Final = "/data/db"

# The image's entry point first runs a server for itself, to set the password; the one that
# stays has process id 1.
POSTGRESQL_READY: Final = (
    'test "$(head -n 1 "$PGDATA"/*/postmaster.pid)" = 1'
    f" && pg_isready --quiet --host=127.0.0.1 --port={POSTGRESQL_PORT}"
)

START_MONGODB: Final = f"""\
#!/bin/sh
# Made by the operator. Sets the administrator to what the Secret says, then starts mongod.
set -eu
mongod --dbpath {MONGODB_DATA} --bind_ip 127.0.0.1 --port 27018 \\
  --unixSocketPrefix /tmp --fork --logpath /tmp/first.log --pidfilepath /tmp/first.pid
mongosh --quiet --norc --port 27018 {SCRIPT_DIR}/administrator.js
mongod --dbpath {MONGODB_DATA} --shutdown
exec mongod --dbpath {MONGODB_DATA} --auth --bind_ip_all --port {PORT} --unixSocketPrefix /tmp
"""

ADMINISTRATOR_JS: Final = f"""\
// Made by the operator. Run by mongosh at every start, before anybody else is let in.
const fs = require("fs");
const user = fs.readFileSync("{ADMIN_DIR}/username", "utf8").trim();
const pwd = fs.readFileSync("{ADMIN_DIR}/password", "utf8").trim();
const admin = db.getSiblingDB("admin");
const roles = [{{ role: "root", db: "admin" }}];
if (admin.getUser(user)) admin.updateUser(user, {{ pwd, roles }});
else admin.createUser({{ user, pwd, roles }});
"""


def render(ash: AshChat, context: ClusterContext, credentials: Credentials) -> list[Object]:
    """Return the store's StatefulSet and Service, and what its start needs."""
    spec = ash.spec.mongodb.managed
    claim = claim_template(ash, "mongodb", spec.storage.size, spec.storage.storage_class_name)
    annotations = {Annotation.ADMIN_REVISION.value: credentials.admins[Backend.MONGODB].revision}
    objects: list[Object] = []
    if spec.engine is Engine.FERRETDB:
        template = _ferretdb(ash, context, annotations)
    else:
        scripts = {"start.sh": START_MONGODB, "administrator.js": ADMINISTRATOR_JS}
        template = _mongodb(ash, context, {**annotations, **config_revision(scripts)})
        objects.append(config_map(ash, "mongodb", scripts))
    return [
        *objects,
        stateful_set(ash, "mongodb", template=template, claim=claim),
        service(ash, "mongodb", {"mongodb": PORT}),
    ]


def _ferretdb(ash: AshChat, context: ClusterContext, annotations: dict[str, str]) -> Object:
    spec = ash.spec.mongodb.managed
    ready = {"exec": {"command": ["sh", "-c", POSTGRESQL_READY]}, "timeoutSeconds": 3}
    postgresql: Object = {
        "name": "postgresql",
        "image": context.images["documentdb"],
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "command": alone(POSTGRESQL_DATA, "entrypoint.sh"),
        "env": env(
            {
                "POSTGRES_USER": "ashchat",
                "POSTGRES_PASSWORD_FILE": f"{ADMIN_DIR}/password",
                "PGDATA": POSTGRESQL_DATA,
            }
        ),
        "resources": resources(
            {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
            spec.resources,
        ),
        "securityContext": container_security(),
        "volumeMounts": [
            mount("data", POSTGRESQL_DATA, read_only=False),
            mount("admin", ADMIN_DIR),
            mount("run", "/var/run/postgresql", read_only=False),
            mount("shm", "/dev/shm", read_only=False),  # noqa: S108 (the pod's own emptyDir)
            mount("tmp", "/tmp", read_only=False),  # noqa: S108
        ],
        "startupProbe": {**ready, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {**ready, "periodSeconds": 5},
    }
    ferretdb: Object = {
        "name": "ferretdb",
        "image": spec.image or context.images["ferretdb"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["ferretdb"],
        "args": [
            f"--listen-addr=:{PORT}",
            # PostgreSQL trusts its own pod, and nobody else reaches it.
            f"--postgresql-url=postgres://ashchat@127.0.0.1:{POSTGRESQL_PORT}/postgres",
            "--state-dir=/tmp",
            "--telemetry=disable",
            f"--debug-addr=:{DEBUG_PORT}",
            "--log-level=WARN",
        ],
        "ports": [port("mongodb", PORT), port("debug", DEBUG_PORT)],
        "resources": resources(
            {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
            Resources(),
        ),
        "securityContext": container_security(),
        "volumeMounts": [mount("tmp", "/tmp", read_only=False)],  # noqa: S108
        "startupProbe": {
            "httpGet": {"path": "/debug/readyz", "port": DEBUG_PORT, "scheme": "HTTP"},
            "timeoutSeconds": 5,
            "periodSeconds": 1,
            "failureThreshold": 300,
        },
        "readinessProbe": {
            "httpGet": {"path": "/debug/readyz", "port": DEBUG_PORT, "scheme": "HTTP"},
            "timeoutSeconds": 5,
            "periodSeconds": 5,
        },
        "livenessProbe": {
            "httpGet": {"path": "/debug/livez", "port": DEBUG_PORT, "scheme": "HTTP"},
            "timeoutSeconds": 5,
            "periodSeconds": 20,
            "failureThreshold": 6,
        },
    }
    return pod_template(
        ash,
        "mongodb",
        uid=BACKEND_UID,
        init_containers=[postgresql],
        containers=[ferretdb],
        volumes=[
            secret_volume("admin", admin_secret(ash, Backend.MONGODB), ["username", "password"]),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
            empty_dir("run"),
            empty_dir("tmp"),
        ],
        grace_seconds=60,
        annotations=annotations,
    )


def _mongodb(ash: AshChat, context: ClusterContext, annotations: dict[str, str]) -> Object:
    spec = ash.spec.mongodb.managed
    probe = {"tcpSocket": {"port": PORT}, "timeoutSeconds": 3}
    container: Object = {
        "name": "mongodb",
        "image": spec.image or context.images["mongodb"],
        "imagePullPolicy": "IfNotPresent",
        "command": alone(MONGODB_DATA, "sh", f"{SCRIPT_DIR}/start.sh"),
        "ports": [port("mongodb", PORT)],
        "env": env({"HOME": "/tmp"}),  # noqa: S108
        "resources": resources(
            {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
            spec.resources,
        ),
        "securityContext": container_security(),
        "volumeMounts": [
            mount("data", MONGODB_DATA, read_only=False),
            mount("admin", ADMIN_DIR),
            mount("start", SCRIPT_DIR),
            mount("tmp", "/tmp", read_only=False),  # noqa: S108
        ],
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {**probe, "periodSeconds": 5},
    }
    return pod_template(
        ash,
        "mongodb",
        uid=BACKEND_UID,
        containers=[container],
        volumes=[
            secret_volume("admin", admin_secret(ash, Backend.MONGODB), ["username", "password"]),
            config_volume("start", child(ash, "mongodb")),
            empty_dir("tmp"),
        ],
        grace_seconds=60,
        annotations=annotations,
    )
