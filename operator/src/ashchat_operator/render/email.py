"""email: codes and confirmations by mail. It has no public port."""

from ashchat_operator.model import AshChat
from ashchat_operator.render.common import (
    Context,
    Object,
    ServicePod,
    deployment,
    service,
    service_ports,
    service_resources,
    service_template,
)


def render(ash: AshChat, context: Context) -> list[Object]:
    """Return email's Deployment and Service."""
    spec = ash.spec.email
    pod = ServicePod(
        component="email",
        image=spec.image or context.images["email"],
        resources=service_resources(spec.resources),
        public=False,
        env={
            "ASHCHAT_SMTP_HOST": spec.smtp.host,
            "ASHCHAT_SMTP_PORT": str(spec.smtp.port),
            "ASHCHAT_SMTP_SECURITY": spec.smtp.security.value.lower(),
            "ASHCHAT_SMTP_FROM": spec.smtp.from_,
        },
    )
    return [
        deployment(ash, "email", replicas=spec.replicas, template=service_template(ash, pod)),
        service(ash, "email", service_ports(public=False)),
    ]
