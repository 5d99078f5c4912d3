"""Exposure without the edge: an Ingress or an HTTPRoute.

Neither rewrites a path: services answer with and without their prefix, since Ingress has no
portable rewrite and the Gateway API's is not in every implementation ("Extended" support,
https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule). Matching by prefix is in all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ashchat_core.topology import SERVICES
from ashchat_operator.credentials.certificate import Certificate, CertificateChoice
from ashchat_operator.render.objects import metadata
from ashchat_operator.resource.enums import ExposureType
from ashchat_operator.resource.model import AshChat, Gateway, Ingress
from ashchat_operator.resource.names import PUBLIC_PORT, child
from ashchat_operator.resource.types import Object

COMPONENT: Final = "exposure"

PATHS: Final[Mapping[str, str]] = MappingProxyType(
    {spec.path_prefix: spec.name.value for spec in SERVICES if spec.path_prefix is not None}
)
"""Path prefix → service, the catch-all last."""


@dataclass(frozen=True, slots=True)
class ObservedExposure:
    """What was observed in the cluster about an AshChat's exposure."""

    choice: CertificateChoice | None = None
    """The edge's certificate, or None without TLS."""
    gateway_api: bool = False
    """Whether the cluster has the HTTPRoute API."""
    listener: str = ""
    """The address of the Gateway's listener, for example https://chat.example.org."""

    @property
    def certificate(self) -> Certificate | None:
        """The certificate to serve, if it exists."""
        return self.choice.served if self.choice else None


NOTHING_OBSERVED: Final = ObservedExposure()


def render(ash: AshChat, *, gateway_api: bool) -> list[Object]:
    """Return the Ingress or the HTTPRoute, or nothing with another type of exposure.

    Args:
        ash: Whose it is.
        gateway_api: Whether the cluster has the HTTPRoute API.
    """
    spec = ash.spec.exposure
    if spec.type is ExposureType.INGRESS and spec.ingress is not None:
        return [_ingress(ash, spec.ingress)]
    if spec.type is ExposureType.GATEWAY and spec.gateway is not None and gateway_api:
        return [_http_route(ash, spec.gateway)]
    return []


def _ingress(ash: AshChat, wanted: Ingress) -> Object:
    described = metadata(ash, COMPONENT)
    if wanted.annotations:
        described["annotations"] = dict(wanted.annotations)
    paths = [
        {
            "path": prefix,
            "pathType": "Prefix",
            "backend": {"service": {"name": child(ash, name), "port": {"name": "http"}}},
        }
        for prefix, name in PATHS.items()
    ]
    spec: Object = {"rules": [{"host": host, "http": {"paths": paths}} for host in wanted.hosts]}
    if wanted.class_name is not None:
        spec["ingressClassName"] = wanted.class_name
    if wanted.tls is not None:
        spec["tls"] = [
            {"hosts": list(wanted.hosts), "secretName": wanted.tls.certificate_secret_ref.name}
        ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": described,
        "spec": spec,
    }


def _http_route(ash: AshChat, wanted: Gateway) -> Object:
    parents = [parent.model_dump(by_alias=True, exclude_none=True) for parent in wanted.parent_refs]
    spec: Object = {
        "parentRefs": parents,
        "rules": [_route(ash, prefix, name) for prefix, name in PATHS.items()],
    }
    if wanted.hostnames:
        spec["hostnames"] = list(wanted.hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(ash, COMPONENT),
        "spec": spec,
    }


def _route(ash: AshChat, prefix: str, name: str) -> Object:
    rule: Object = {
        "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
        "backendRefs": [{"name": child(ash, name), "port": PUBLIC_PORT}],
    }
    if name == "chat":
        # A socket is one long request, so it must not time out (GEP-1742: zero means never).
        rule["timeouts"] = {"request": "0s"}
    return rule
