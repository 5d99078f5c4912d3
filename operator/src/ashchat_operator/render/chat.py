"""chat: rooms, messages and sockets."""

from ashchat_operator.render.objects import deployment, service
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
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import PUBLIC_PORT, ClusterContext, child, host
from ashchat_operator.resource.types import Object

JWKS_DIR = "/etc/ashchat/jwks"
PODS = "chat-pods"
"""The headless Service, so that the edge can spread sockets over the pods."""


def render(ash: AshChat, context: ClusterContext) -> list[Object]:
    """Return chat's Deployment and its two Services."""
    spec = ash.spec.chat
    pod = ServicePod(
        component="chat",
        image=spec.image or context.images["chat"],
        resources=service_resources(spec.resources, scaled=spec.autoscaling is not None),
        public=True,
        env={
            "ASHCHAT_TRUSTED_PROXIES": trusted_proxies(ash, context),
            "ASHCHAT_ACCESS_TOKEN_MINUTES": str(ash.spec.auth.access_token_minutes),
            "ASHCHAT_JWKS_FILE": f"{JWKS_DIR}/jwks.json",
            **allowed_origins(ash),
            **spec.limits.environment(),
            "ASHCHAT_GROUP_MEMBERS_MAX": str(spec.max_group_members),
            "ASHCHAT_STATIC_URL": f"http://{host(ash, 'static', context)}:{PUBLIC_PORT}",
        },
        volumes=[config_volume("jwks", child(ash, "jwks"))],
        mounts=[mount("jwks", JWKS_DIR)],
    )
    return [
        deployment(ash, "chat", replicas=replicas(spec), template=service_template(ash, pod)),
        *around(ash, "chat", spec),
        service(ash, "chat", service_ports(public=True)),
        service(ash, "chat", {"http": PUBLIC_PORT}, name=child(ash, PODS), headless=True),
    ]
