"""translate: receives jobs and sends results. It has no public port."""

from ashchat_operator.render import apertium
from ashchat_operator.render.objects import deployment, service
from ashchat_operator.render.pods import (
    ServicePod,
    service_ports,
    service_resources,
    service_template,
)
from ashchat_operator.render.scaling import around, replicas
from ashchat_operator.resource.enums import Provider
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import CREDENTIALS_DIR, ClusterContext, host
from ashchat_operator.resource.types import Object


def render(ash: AshChat, context: ClusterContext) -> list[Object]:
    """Return translate's Deployment and Service."""
    spec = ash.spec.translate
    pod = ServicePod(
        component="translate",
        image=spec.image or context.images["translate"],
        resources=service_resources(spec.resources, scaled=spec.autoscaling is not None),
        public=False,
        env=environment(ash, context),
    )
    return [
        deployment(ash, "translate", replicas=replicas(spec), template=service_template(ash, pod)),
        *around(ash, "translate", spec),
        service(ash, "translate", service_ports(public=False)),
    ]


def environment(ash: AshChat, context: ClusterContext) -> dict[str, str]:
    """Return the provider, its fallback, and the limits."""
    spec = ash.spec.translate
    result = {
        **spec.limits.environment(),
        "ASHCHAT_TRANSLATE_PROVIDER": spec.provider.value.lower(),
        "ASHCHAT_APERTIUM_URL": f"http://{host(ash, 'apertium', context)}:{apertium.PORT}",
    }
    if spec.provider is Provider.GOOGLE and spec.google is not None:
        result["ASHCHAT_GOOGLE_PROJECT"] = spec.google.project
        result["ASHCHAT_GOOGLE_LOCATION"] = spec.google.location
        result["ASHCHAT_GOOGLE_CHARACTERS_PER_DAY"] = str(spec.google.characters_per_day)
        if spec.google.endpoint is not None:
            result["ASHCHAT_GOOGLE_ENDPOINT"] = spec.google.endpoint
        if spec.google.ca_secret_ref is not None:
            result["ASHCHAT_GOOGLE_CA_FILE"] = f"{CREDENTIALS_DIR}/google-ca.pem"
        if spec.apertium.replicas > 0:
            result["ASHCHAT_TRANSLATE_FALLBACK"] = Provider.APERTIUM.value.lower()
    return result
