"""auth: accounts, sessions and tokens."""

from ashchat_operator.credentials import signing_keys_secret
from ashchat_operator.model import AshChat
from ashchat_operator.render.common import (
    Context,
    Object,
    ServicePod,
    deployment,
    mount,
    secret_volume,
    service,
    service_ports,
    service_resources,
    service_template,
)

SIGNING_KEYS_DIR = "/etc/ashchat/signing-keys"


def render(ash: AshChat, context: Context) -> list[Object]:
    """Return auth's Deployment and Service."""
    spec = ash.spec.auth
    pod = ServicePod(
        component="auth",
        image=spec.image or context.images["auth"],
        resources=service_resources(spec.resources),
        public=True,
        env={
            "ASHCHAT_TRUSTED_PROXIES": context.pod_cidrs,
            "ASHCHAT_SIGNING_KEYS_DIR": SIGNING_KEYS_DIR,
            "ASHCHAT_SIGN_UPS_PER_HOUR": str(spec.sign_ups_per_hour),
        },
        volumes=[secret_volume("signing-keys", signing_keys_secret(ash))],
        mounts=[mount("signing-keys", SIGNING_KEYS_DIR)],
    )
    return [
        deployment(ash, "auth", replicas=spec.replicas, template=service_template(ash, pod)),
        service(ash, "auth", service_ports(public=True)),
    ]
