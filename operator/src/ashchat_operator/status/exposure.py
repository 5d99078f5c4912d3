"""What the status reports about the exposure. Pure.

The status of an Ingress holds little: its controller may or may not write the address.
The status of an HTTPRoute reports which Gateways accepted it, and why others did not
(https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus).
"""

from collections.abc import Sequence
from typing import Final

from ashchat_core.api.conditions import ConditionStatus, ConditionType, Finding
from ashchat_core.api.reasons import Reason
from ashchat_operator.render.exposure import COMPONENT, ObservedExposure
from ashchat_operator.resource.enums import ExposureType
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import child
from ashchat_operator.resource.types import Live, Object
from ashchat_operator.status.components import Component

_NEEDED: Final = ("Accepted", "ResolvedRefs")


def components(
    ash: AshChat, found: Sequence[Component], live: Live, observed: ObservedExposure
) -> list[Component]:
    """Return the components, including the exposure and the state of the edge's certificate."""
    result = [_with_certificate(item, observed) for item in found]
    if ash.spec.exposure.type is ExposureType.INGRESS:
        result.append(_ingress(live.get(("Ingress", child(ash, COMPONENT)))))
    elif ash.spec.exposure.type is ExposureType.GATEWAY:
        route = live.get(("HTTPRoute", child(ash, COMPONENT)))
        result.append(_route(ash, route, gateway_api=observed.gateway_api))
    return result


def _with_certificate(component: Component, observed: ObservedExposure) -> Component:
    choice = observed.choice
    if component.name != "edge" or choice is None or choice.works:
        return component
    return component.blocked(choice.reason, choice.message)


def _ingress(body: Object | None) -> Component:
    if body is None:
        return Component(COMPONENT, ready=False, reason=Reason.MISSING, message="being created")
    for place in body.get("status", {}).get("loadBalancer", {}).get("ingress", []):
        where = place.get("hostname") or place.get("ip")
        return Component(
            COMPONENT, ready=True, reason=Reason.ADMITTED, message=f"served at {where}"
        )
    # Not every controller reports an address, so readiness must not depend on it.
    message = "the Ingress exists; no controller has reported its address"
    return Component(COMPONENT, ready=True, reason=Reason.NOT_REPORTED, message=message)


def _route(ash: AshChat, body: Object | None, *, gateway_api: bool) -> Component:
    def no(reason: str, message: str) -> Component:
        return Component(COMPONENT, ready=False, reason=reason, message=message)

    if not gateway_api:
        return no(
            Reason.GATEWAY_API_MISSING,
            "the cluster does not know HTTPRoute (gateway.networking.k8s.io/v1): install the "
            "Gateway API 1.2 or newer, or choose another exposure.type",
        )
    if body is None:
        return no(Reason.MISSING, "being created")
    parents = body.get("status", {}).get("parents", [])
    gateways = {
        (parent.namespace or ash.namespace, parent.name)
        for parent in (ash.spec.exposure.gateway.parent_refs if ash.spec.exposure.gateway else ())
    }
    accepted = set()
    for parent in parents:
        reference = parent["parentRef"]
        name = (reference.get("namespace", ash.namespace), reference["name"])
        if name not in gateways:
            continue  # from an earlier version of the route
        conditions = {item["type"]: item for item in parent.get("conditions", [])}
        for kind in _NEEDED:
            item = conditions.get(kind)
            if item is None or item.get("observedGeneration", 0) < body["metadata"]["generation"]:
                break
            if item["status"] != "True":
                return no(item["reason"], f"Gateway {'/'.join(name)}: {item['message'] or kind}")
        else:
            accepted.add(name)
    silent = sorted(gateways - accepted)
    if silent:
        names = ", ".join("/".join(name) for name in silent)
        return no(
            Reason.NOT_ACCEPTED, f"no controller has accepted the route at Gateway {names} yet"
        )
    return Component(COMPONENT, ready=True, reason=Reason.ACCEPTED, message="")


def url(ash: AshChat, observed: ObservedExposure) -> str:
    """Return the public address without an edge; empty if unknown or if there is an edge."""
    spec = ash.spec.exposure
    if ash.spec.public_url is not None:
        return ""
    if spec.type is ExposureType.INGRESS and spec.ingress is not None:
        host = next((name for name in spec.ingress.hosts if not name.startswith("*")), "")
        scheme = "https" if spec.ingress.tls is not None else "http"
        return f"{scheme}://{host}" if host else ""
    return observed.listener


def conditions(observed: ObservedExposure) -> dict[ConditionType, Finding]:
    """Return the condition of the edge's certificate; empty without TLS at the edge."""
    choice = observed.choice
    if choice is None:
        return {}
    status = ConditionStatus.TRUE if choice.good else ConditionStatus.FALSE
    return {ConditionType.CERTIFICATE_READY: Finding(status, choice.reason, choice.message)}
