"""Observes the exposure: the edge's certificate, the cluster's Gateway API."""

from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from ashchat_operator.credentials.certificate import bare_host, choose
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.errors import NOT_FOUND, ApiServerError
from ashchat_operator.kube.secret_data import decoded
from ashchat_operator.render.edge import served_certificate, tls_secret
from ashchat_operator.render.exposure import NOTHING_OBSERVED, ObservedExposure
from ashchat_operator.resource.enums import ExposureType
from ashchat_operator.resource.model import AshChat, Gateway
from ashchat_operator.resource.types import Live

FORBIDDEN: Final = 403
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


async def read(api: Api, ash: AshChat, found: Live, now: datetime) -> ObservedExposure:
    """Return what is observed for this AshChat's type of exposure.

    Raises:
        ApiServerError: It cannot be read.
    """
    spec = ash.spec.exposure
    if spec.type is ExposureType.EDGE and spec.edge.tls is not None:
        name = spec.edge.tls.certificate_secret_ref.name
        given = await api.get("Secret", ash.namespace, name)
        former = found.get(("Secret", tls_secret(ash)))
        choice = choose(
            name,
            decoded(given) if given else {},
            served_certificate(decoded(former)) if former else {},
            bare_host(urlsplit(ash.spec.public_url or "").hostname or ""),
            now,
        )
        return ObservedExposure(choice)
    if spec.type is ExposureType.GATEWAY and spec.gateway is not None:
        if not await api.serves("HTTPRoute"):
            return NOTHING_OBSERVED
        return ObservedExposure(gateway_api=True, listener=await _listener(api, ash, spec.gateway))
    return NOTHING_OBSERVED


async def _listener(api: Api, ash: AshChat, wanted: Gateway) -> str:
    """Return the address of the route at its first Gateway; empty: not known."""
    if ash.spec.public_url is not None:
        return ""  # publicUrl takes precedence
    parent = wanted.parent_refs[0]
    try:
        gateway = await api.get("Gateway", parent.namespace or ash.namespace, parent.name)
    except ApiServerError as error:
        # The operator may lack permission in the namespace of the Gateway.
        if error.status not in {NOT_FOUND, FORBIDDEN}:
            raise
        return ""
    fitting = [
        item
        for item in (gateway or {}).get("spec", {}).get("listeners", [])
        if parent.section_name in {None, item["name"]} and parent.port in {None, item["port"]}
    ]
    # If a Gateway has both, clients should use HTTPS.
    fitting.sort(key=lambda item: item["protocol"] != "HTTPS")
    return next(filter(None, (_address(item, wanted) for item in fitting)), "")


def _address(listener: dict[str, Any], wanted: Gateway) -> str:
    names = [*wanted.hostnames, listener.get("hostname", "")]
    host = next((name for name in names if name and not name.startswith("*")), "")
    scheme = {"HTTP": "http", "HTTPS": "https"}.get(listener["protocol"], "")
    if not host or not scheme:
        return ""
    port = listener["port"]
    return f"{scheme}://{host}" + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")
