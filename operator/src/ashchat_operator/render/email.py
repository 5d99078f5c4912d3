"""email: sends codes and confirmations by mail. It has no public port."""

from ashchat_operator.render.objects import deployment, service
from ashchat_operator.render.pods import (
    ServicePod,
    service_ports,
    service_resources,
    service_template,
)
from ashchat_operator.render.scaling import around, replicas
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import CREDENTIALS_DIR, ClusterContext
from ashchat_operator.resource.types import Object


def render(ash: AshChat, context: ClusterContext) -> list[Object]:
    """Return email's Deployment and Service."""
    spec = ash.spec.email
    pod = ServicePod(
        component="email",
        image=spec.image or context.images["email"],
        resources=service_resources(spec.resources, scaled=spec.autoscaling is not None),
        public=False,
        env=environment(ash),
    )
    return [
        deployment(ash, "email", replicas=replicas(spec), template=service_template(ash, pod)),
        *around(ash, "email", spec),
        service(ash, "email", service_ports(public=False)),
    ]


def environment(ash: AshChat) -> dict[str, str]:
    """Return the settings of the mail server and its certificate authority, and the limits."""
    smtp = ash.spec.email.smtp
    result = {
        "ASHCHAT_SMTP_HOST": smtp.host,
        "ASHCHAT_SMTP_PORT": str(smtp.port),
        "ASHCHAT_SMTP_SECURITY": smtp.security.value.lower(),
        "ASHCHAT_SMTP_FROM": smtp.from_,
        **ash.spec.email.limits.environment(),
    }
    if smtp.ca_secret_ref is not None:
        result["ASHCHAT_SMTP_CA_FILE"] = f"{CREDENTIALS_DIR}/smtp-ca.pem"
    return result
