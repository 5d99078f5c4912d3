"""Names, labels and addresses of the objects of one AshChat."""

from dataclasses import dataclass
from typing import Final

from ashchat_core.api.names import OPERATOR, Label
from ashchat_operator.resource.images import Images
from ashchat_operator.resource.model import AshChat

PUBLIC_PORT: Final = 8080

PRIVATE_PORT: Final = 9000

CREDENTIALS_DIR: Final = "/etc/ashchat/credentials"


@dataclass(frozen=True, slots=True)
class ClusterContext:
    """What rendering needs in addition to the resource: images and properties of the cluster."""

    images: Images
    pod_cidrs: str = ""
    cluster_domain: str = "cluster.local"
    operator_namespace: str = "ashchat-system"


def child(ash: AshChat, component: str) -> str:
    """Return the name of a component's objects."""
    return f"{ash.name}-{component}"


def host(ash: AshChat, component: str, context: ClusterContext) -> str:
    """Return the DNS name of a component's Service.

    The name is fully qualified, but has no trailing dot. The dot would save the queries for each
    search domain, but TLS and URL libraries do not handle it.
    """
    return f"{child(ash, component)}.{ash.namespace}.svc.{context.cluster_domain}"


def selector(ash: AshChat, component: str) -> dict[str, str]:
    """Return the labels that select a component's pods; they are immutable."""
    return {
        "app.kubernetes.io/name": "ashchat",
        Label.INSTANCE.value: ash.name,
        Label.COMPONENT.value: component,
    }


def labels(ash: AshChat, component: str) -> dict[str, str]:
    """Return the labels of a component's objects."""
    return {
        **selector(ash, component),
        "app.kubernetes.io/part-of": "ashchat",
        Label.MANAGED_BY.value: OPERATOR,
    }
