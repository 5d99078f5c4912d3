"""static: the front page, and uploads and downloads on a volume."""

from ashchat_operator.render.chat import JWKS_DIR
from ashchat_operator.render.objects import claim_spec, deployment, metadata, service
from ashchat_operator.render.pods import (
    ServicePod,
    allowed_origins,
    config_volume,
    mount,
    service_ports,
    service_resources,
    service_template,
    trusted_proxies,
)
from ashchat_operator.render.scaling import around, replicas
from ashchat_operator.resource.enums import AccessMode
from ashchat_operator.resource.model import AshChat, Static
from ashchat_operator.resource.names import ClusterContext, child, selector
from ashchat_operator.resource.quantity import quantity
from ashchat_operator.resource.types import Object

UPLOADS_ROOT = "/var/lib/ashchat"
UPLOAD_MAX_BYTES = 10 * 1024 * 1024


ACCOUNTS_TO_FILL_THE_VOLUME = 10
"""Minimum number of accounts that together can fill the volume, by default."""


def _bytes_per_account(spec: Static) -> int:
    """Return what one account may store, in bytes."""
    if spec.storage_per_account is not None:
        return int(quantity(spec.storage_per_account))
    return int(quantity(spec.storage.size)) // ACCOUNTS_TO_FILL_THE_VOLUME


def render(ash: AshChat, context: ClusterContext) -> list[Object]:
    """Return static's volume claim, Deployment and Service."""
    spec = ash.spec.static
    env = {
        "ASHCHAT_TRUSTED_PROXIES": trusted_proxies(ash, context),
        **allowed_origins(ash),
        "ASHCHAT_JWKS_FILE": f"{JWKS_DIR}/jwks.json",
        "ASHCHAT_UPLOADS_DIR": f"{UPLOADS_ROOT}/uploads",
        "ASHCHAT_UPLOAD_MAX_BYTES": str(UPLOAD_MAX_BYTES),
        "ASHCHAT_STORED_BYTES_PER_ACCOUNT": str(_bytes_per_account(spec)),
        "ASHCHAT_UPLOADS_PER_DAY": str(spec.uploads_per_day),
        "ASHCHAT_REQUESTS_PER_NETWORK_PER_MINUTE": str(spec.requests_per_network_per_minute),
    }
    if ash.spec.public_url is not None:
        env["ASHCHAT_PUBLIC_URL"] = ash.spec.public_url
    claim = child(ash, "static")
    pod = ServicePod(
        component="static",
        image=spec.image or context.images["static"],
        resources=service_resources(spec.resources, scaled=spec.autoscaling is not None),
        public=True,
        env=env,
        volumes=[
            config_volume("jwks", child(ash, "jwks")),
            {"name": "uploads", "persistentVolumeClaim": {"claimName": claim}},
        ],
        mounts=[
            mount("jwks", JWKS_DIR),
            mount("uploads", UPLOADS_ROOT, read_only=False),
        ],
    )
    template = service_template(ash, pod)
    if spec.storage.access_mode is AccessMode.READ_WRITE_ONCE:
        # Only one node can mount the volume, but for any number of pods. So the new pod starts
        # on the old one's node, without downtime; without an old pod it starts anywhere.
        template["spec"]["affinity"] = {
            "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": selector(ash, "static")},
                    }
                ]
            }
        }
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata(ash, "static", retained=True),
            "spec": claim_spec(
                spec.storage.size, spec.storage.storage_class_name, spec.storage.access_mode
            ),
        },
        deployment(ash, "static", replicas=replicas(spec), template=template),
        *around(ash, "static", spec),
        service(ash, "static", service_ports(public=True)),
    ]
