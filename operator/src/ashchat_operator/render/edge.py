"""edge: one origin in front of all services (Caddy).

| path | goes to |
|---|---|
| `/auth/...` | auth, prefix stripped |
| `/chat/...` | chat, prefix stripped, sockets too |
| everything else | static (`/files/...`, the front page) |

The client's address is what the edge sees, and with `externalTrafficPolicy: Local` the node
does not replace it on the way. X-Forwarded-For is believed from `trustedProxies` only, and the
like of it never; the services get one address.
"""

import json
from collections.abc import Mapping
from typing import Final

from ashchat_operator.credentials.certificate import CHAIN_KEY, PRIVATE_KEY_KEY, Certificate
from ashchat_operator.render.chat import PODS
from ashchat_operator.render.objects import config_map, deployment, metadata
from ashchat_operator.render.pods import (
    SERVICE_UID,
    config_volume,
    container_security,
    empty_dir,
    env,
    http_probes,
    mount,
    pod_template,
    port,
    resources,
    secret_volume,
)
from ashchat_operator.render.scaling import around
from ashchat_operator.render.secrets import secret
from ashchat_operator.render.static import UPLOAD_MAX_BYTES
from ashchat_operator.resource.enums import ExposureType, ServiceType
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import (
    PRIVATE_PORT,
    PUBLIC_PORT,
    ClusterContext,
    child,
    host,
    selector,
)
from ashchat_operator.resource.types import Object

TLS_PORT: Final = 8443
HSTS_SECONDS: Final = 365 * 24 * 3600
"""So long browsers come by HTTPS only (RFC 6797; OWASP ASVS 5.0, 3.4.1: a year at least)."""

CONFIG_DIR: Final = "/etc/caddy"
BODY_MAX_BYTES: Final = 1024 * 1024
UPLOAD_BODY_MAX_BYTES: Final = UPLOAD_MAX_BYTES + 64 * 1024
"""An upload and the multipart form around it."""

LOG_FORMAT: Final = """\
		format filter {
			wrap json
			fields {
				# Sockets are opened with a token in the query, requests with one in a header.
				request>uri regexp \\?.* ?-
				request>headers delete
				resp_headers delete
			}
		}"""

CADDYFILE: Final = """\
# Made by the operator. https://caddyserver.com/docs/caddyfile
{{
	admin off
	auto_https off
	persist_config off
	# Goes on for a moment, until no node sends anybody here any more.
	shutdown_delay 4s
	grace_period 20s
	storage file_system /tmp/caddy
	log {{
		level WARN
{log_format}
	}}
	servers {{
		# Caddy drops header names with an underscore that are not named here; the original's
		# clients send this one.
		expected_underscore_headers device_token
		protocols h1 h2
{trusted}		timeouts {{
			read_header 10s
			idle 5m
		}}
		max_header_size 32KB
	}}
}}

(upstream) {{
	# A pod that is just being replaced is waited for; nothing was sent yet when dialling fails.
	lb_try_duration 4s
	lb_try_interval 100ms
	# A new configuration cuts no socket: none outlives its access token, an hour at most.
	stream_close_delay 61m
	# One address, whatever came before it: that of whoever is no trusted proxy.
	header_up X-Forwarded-For {{client_ip}}
	header_up -Forwarded
	header_up -X-Real-Ip
	header_up -X-Client-Ip
	header_up -True-Client-Ip
	transport http {{
		dial_timeout 2s
		# Shorter than a service keeps an idle connection open, and than it goes on when it is
		# told to end: nothing is ever sent into one that is just being closed.
		keepalive 1s
	}}
}}

:{private} {{
	respond /livez 200
	respond /readyz 200
	metrics /metrics
	respond 404
}}

(site) {{
	# What nobody answered leaves a line that says why; what a service refused has its own there.
	log {{
		level ERROR
{log_format}
	}}
	@upload path /files /files/* /upload /chat/api/user/photo
	@other not path /files /files/* /upload /chat/api/user/photo
	request_body @upload {{
		max_size {upload_max}
	}}
	request_body @other {{
		max_size {body_max}
	}}
	handle_path /auth/* {{
		reverse_proxy {auth}:{public} {{
			import upstream
		}}
	}}
	handle_path /chat/* {{
		reverse_proxy {{
			# Its pods one by one, so that sockets spread evenly.
			dynamic a {{
				name {chat_pods}
				port {public}
				refresh 1s
				versions ipv4
			}}
			lb_policy least_conn
			fail_duration 5s
			import upstream
		}}
	}}
	handle {{
		reverse_proxy {static}:{public} {{
			import upstream
		}}
	}}
	handle_errors 502 503 504 {{
		log_append error {{err.message}}
		header Retry-After 2
		header Content-Type application/json
		respond `{unavailable}` 503
	}}
	handle_errors 413 {{
		header Content-Type application/json
		respond `{too_large}` 413
	}}
}}

"""

PLAIN: Final = """\
:{public} {{
	import site
}}
"""

WITH_TLS: Final = """\
:{tls} {{
	# Named after what is in it: a renewed certificate is another configuration.
	tls {folder}/{certificate}.crt {folder}/{certificate}.key
	header Strict-Transport-Security max-age={hsts}
	import site
}}

:{public} {{
	redir {https}{{uri}} 308
}}
"""


def caddyfile(ash: AshChat, context: ClusterContext, certificate: Certificate | None = None) -> str:
    """Return the edge's configuration; Caddy reads it again when the file changes."""
    common = CADDYFILE.format(
        log_format=LOG_FORMAT,
        trusted=_trusted(ash),
        public=PUBLIC_PORT,
        private=PRIVATE_PORT,
        upload_max=UPLOAD_BODY_MAX_BYTES,
        body_max=BODY_MAX_BYTES,
        auth=host(ash, "auth", context),
        chat_pods=host(ash, PODS, context),
        static=host(ash, "static", context),
        unavailable=_envelope(503, "unavailable", "This is not there right now; try again."),
        too_large=_envelope(413, "too_large", "The request is too large."),
    )
    if certificate is None:
        return common + PLAIN.format(public=PUBLIC_PORT)
    return common + WITH_TLS.format(
        public=PUBLIC_PORT,
        tls=TLS_PORT,
        folder=CONFIG_DIR,
        certificate=certificate.fingerprint,
        hsts=HSTS_SECONDS,
        https=_https(ash),
    )


def _trusted(ash: AshChat) -> str:
    """Return whose X-Forwarded-For is believed, read from the right to the first who is not."""
    networks = ash.spec.exposure.trusted_proxies
    if not networks:
        return ""
    return f"\t\ttrusted_proxies static {' '.join(networks)}\n\t\ttrusted_proxies_strict\n"


def _https(ash: AshChat) -> str:
    """Return where HTTP leads to: the public address, or the host that was asked for."""
    spec = ash.spec
    if spec.public_url is not None:
        return spec.public_url.rstrip("/")
    number = spec.exposure.edge.https_node_port
    return "https://{host}" + (f":{number}" if number is not None else "")


def _envelope(status: int, reason: str, message: str) -> str:
    """Return an error in auth's form (`message`) and chat's (`error`): clients read either."""
    return json.dumps(
        {"status": status, "message": message, "error": message, "data": None, "reason": reason}
    )


def configuration(ash: AshChat, context: ClusterContext, certificate: Certificate | None) -> Object:
    """Return what holds the edge's configuration.

    With TLS it is one Secret with the certificate in it: files of one volume change at once,
    so that Caddy never reads a configuration whose certificate is not there yet.
    """
    text = caddyfile(ash, context, certificate)
    if certificate is None:
        return config_map(ash, "edge", {"Caddyfile": text})
    files = {
        "Caddyfile": text.encode(),
        f"{certificate.fingerprint}.crt": certificate.chain,
        f"{certificate.fingerprint}.key": certificate.key,
    }
    return secret(ash, "edge", tls_secret(ash), files, retained=False)


def tls_secret(ash: AshChat) -> str:
    """Return the name of the Secret with the configuration and the certificate served."""
    return child(ash, "edge-tls")


def served_certificate(data: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the certificate in that Secret, under the names of a kubernetes.io/tls Secret."""
    suffixes = {".crt": CHAIN_KEY, ".key": PRIVATE_KEY_KEY}
    return {suffixes[name[-4:]]: value for name, value in data.items() if name[-4:] in suffixes}


def render(
    ash: AshChat, context: ClusterContext, certificate: Certificate | None = None
) -> list[Object]:
    """Return the edge's configuration, Deployment and Service; nothing without an edge.

    Args:
        ash: Whose edge.
        context: Images, and facts of the cluster.
        certificate: What to serve, with TLS. Where there is none yet, new pods wait for it,
            and those that run go on as they were.
    """
    if ash.spec.exposure.type is not ExposureType.EDGE:
        return []
    spec = ash.spec.exposure.edge
    security = container_security()
    # The official image's binary has this file capability, and is not executed without it
    # in the bounding set; the restricted profile allows it.
    security["capabilities"]["add"] = ["NET_BIND_SERVICE"]
    container: Object = {
        "name": "edge",
        "image": spec.image or context.images["edge"],
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "caddy",
            "run",
            "--config",
            f"{CONFIG_DIR}/Caddyfile",
            "--adapter",
            "caddyfile",
            "--watch",
        ],
        "ports": [
            port("http", PUBLIC_PORT),
            *([port("https", TLS_PORT)] if spec.tls is not None else []),
            port("private", PRIVATE_PORT),
        ],
        "env": env(
            {
                "HOME": "/tmp",  # noqa: S108 (the pod's own emptyDir)
                "XDG_CONFIG_HOME": "/tmp/config",  # noqa: S108
                "XDG_DATA_HOME": "/tmp/data",  # noqa: S108
            }
        ),
        "resources": resources(
            {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "256Mi"}},
            spec.resources,
        ),
        "securityContext": security,
        "volumeMounts": [
            mount("config", CONFIG_DIR),
            mount("tmp", "/tmp", read_only=False),  # noqa: S108
        ],
        **http_probes(),
    }
    template = pod_template(
        ash,
        "edge",
        uid=SERVICE_UID,
        containers=[container],
        volumes=[
            secret_volume("config", tls_secret(ash))
            if spec.tls is not None
            else config_volume("config", child(ash, "edge")),
            empty_dir("tmp"),
        ],
        grace_seconds=30,
    )
    return [
        configuration(ash, context, certificate),
        deployment(ash, "edge", replicas=spec.replicas, template=template),
        *around(ash, "edge", spec),
        edge_service(ash),
    ]


def edge_service(ash: AshChat) -> Object:
    """Return the Service that people reach."""
    spec = ash.spec.exposure.edge
    http: Object = {"name": "http", "port": 80, "targetPort": PUBLIC_PORT, "protocol": "TCP"}
    if spec.node_port is not None:
        http["nodePort"] = spec.node_port
    ports = [http]
    if spec.tls is not None:
        https: Object = {"name": "https", "port": 443, "targetPort": TLS_PORT, "protocol": "TCP"}
        if spec.https_node_port is not None:
            https["nodePort"] = spec.https_node_port
        ports.append(https)
    body: Object = {
        "type": spec.service_type.value,
        "selector": selector(ash, "edge"),
        "ports": ports,
    }
    if spec.service_type is not ServiceType.CLUSTER_IP:
        # Otherwise every client has the node's address, and limits per address hit all.
        body["externalTrafficPolicy"] = "Local"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(ash, "edge"),
        "spec": body,
    }
