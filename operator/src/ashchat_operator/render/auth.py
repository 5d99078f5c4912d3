"""auth: accounts, sessions and tokens."""

from ashchat_operator.credentials.bundle import key_ring_secret, signing_keys_secret
from ashchat_operator.render.objects import deployment, service
from ashchat_operator.render.pods import (
    ServicePod,
    allowed_origins,
    mount,
    secret_volume,
    service_ports,
    service_resources,
    service_template,
    trusted_proxies,
)
from ashchat_operator.render.scaling import around, replicas
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext
from ashchat_operator.resource.types import Object

SIGNING_KEYS_DIR = "/etc/ashchat/signing-keys"
KEY_RING_DIR = "/etc/ashchat/key-ring"


def render(ash: AshChat, context: ClusterContext) -> list[Object]:
    """Return auth's Deployment and Service."""
    spec = ash.spec.auth
    pod = ServicePod(
        component="auth",
        image=spec.image or context.images["auth"],
        # Hashing passwords needs more CPU than anything else in an AshChat: at 20m the event
        # loop would be starved whenever many users sign in at once (`make bench-auth`).
        resources=service_resources(spec.resources, cpu="200m"),
        public=True,
        env={
            "ASHCHAT_TRUSTED_PROXIES": trusted_proxies(ash, context),
            **allowed_origins(ash),
            "ASHCHAT_ACCESS_TOKEN_MINUTES": str(ash.spec.auth.access_token_minutes),
            "ASHCHAT_SIGNING_KEYS_DIR": SIGNING_KEYS_DIR,
            "ASHCHAT_KEY_RING_DIR": KEY_RING_DIR,
            **spec.limits.environment(),
        },
        volumes=[
            secret_volume("signing-keys", signing_keys_secret(ash)),
            # Optional: without these keys, everything except two-factor keeps working.
            secret_volume("key-ring", key_ring_secret(ash), optional=True),
        ],
        mounts=[mount("signing-keys", SIGNING_KEYS_DIR), mount("key-ring", KEY_RING_DIR)],
    )
    return [
        deployment(ash, "auth", replicas=replicas(spec), template=service_template(ash, pod)),
        *around(ash, "auth", spec),
        service(ash, "auth", service_ports(public=True)),
    ]
