"""Exposure without the edge: the rendered objects, and what the status reports."""

from typing import Any

import pytest

from ashchat_core.api.reasons import Reason
from ashchat_operator.credentials.certificate import CertificateChoice
from ashchat_operator.render import platform
from ashchat_operator.render.exposure import NOTHING_OBSERVED, ObservedExposure, render
from ashchat_operator.resource.model import AshChat
from ashchat_operator.status import conditions, exposure
from ashchat_operator.status.components import Component
from operator_rendering import CONTEXT, changed, fixed_credentials

Object = dict[str, Any]
GATEWAY: Object = {
    "type": "Gateway",
    "gateway": {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["chat.example.org"],
    },
}
INGRESS: Object = {
    "type": "Ingress",
    "ingress": {
        "className": "nginx",
        "hosts": ["chat.example.org", "talk.example.org"],
        "tls": {"certificateSecretRef": {"name": "chat-tls"}},
        "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "3600"},
    },
}
KNOWN = ObservedExposure(gateway_api=True)


def exposed(how: Object) -> AshChat:
    return changed("minimal", {"exposure": how})


def test_an_ingress_routes_three_prefixes_for_each_host() -> None:
    (ingress,) = render(exposed(INGRESS), gateway_api=False)
    spec = ingress["spec"]
    assert ingress["metadata"]["name"] == "small-exposure"
    assert ingress["metadata"]["annotations"] == INGRESS["ingress"]["annotations"]
    assert spec["ingressClassName"] == "nginx"
    assert spec["tls"] == [{"hosts": INGRESS["ingress"]["hosts"], "secretName": "chat-tls"}]
    assert [rule["host"] for rule in spec["rules"]] == INGRESS["ingress"]["hosts"]
    for rule in spec["rules"]:
        assert [
            (path["path"], path["backend"]["service"]["name"]) for path in rule["http"]["paths"]
        ] == [("/auth", "small-auth"), ("/chat", "small-chat"), ("/", "small-static")]


def test_a_route_rewrites_nothing_and_does_not_time_out_websockets() -> None:
    (route,) = render(exposed(GATEWAY), gateway_api=True)
    spec = route["spec"]
    assert spec["parentRefs"] == GATEWAY["gateway"]["parentRefs"]
    assert spec["hostnames"] == ["chat.example.org"]
    assert "filters" not in str(spec)
    assert {
        rule["matches"][0]["path"]["value"]: (
            rule["backendRefs"][0]["name"],
            rule.get("timeouts", {}).get("request"),
        )
        for rule in spec["rules"]
    } == {
        "/auth": ("small-auth", None),
        "/chat": ("small-chat", "0s"),
        "/": ("small-static", None),
    }


@pytest.mark.parametrize("how", [INGRESS, GATEWAY, {"type": "None"}])
def test_without_an_edge_no_object_of_it_is_rendered(how: Object) -> None:
    ash = exposed(how)
    objects = platform.render(ash, CONTEXT, fixed_credentials(ash), KNOWN)
    assert not [item for item in objects if item["metadata"]["name"] == "small-edge"]


def test_without_the_gateway_api_no_route_is_rendered_and_this_is_reported() -> None:
    ash = exposed(GATEWAY)
    assert render(ash, gateway_api=False) == []
    (found,) = exposure.components(ash, [], {}, NOTHING_OBSERVED)
    assert (found.name, found.ready, found.reason) == ("exposure", False, "GatewayApiMissing")
    assert "install the Gateway API 1.2 or newer" in found.message


def test_the_address_of_an_ingress_is_reported() -> None:
    def observed(status: Object) -> Component:
        live = {("Ingress", "small-exposure"): {"status": status}}
        (component,) = exposure.components(exposed(INGRESS), [], live, NOTHING_OBSERVED)
        return component

    assert (observed({}).ready, observed({}).reason) == (True, "NotReported")
    admitted = observed({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})
    assert (admitted.ready, admitted.reason) == (True, "Admitted")
    assert admitted.message == "served at 192.0.2.1"


def route(*parents: Object) -> Object:
    return {
        "metadata": {"generation": 2},
        "status": {"parents": list(parents)},
    }


def parent(
    accepted: str, refs: str = "True", *, generation: int = 2, name: str = "public"
) -> Object:
    return {
        "parentRef": {"name": name, "namespace": "gateways"},
        "conditions": [
            {
                "type": kind,
                "status": status,
                "reason": kind if status == "True" else f"No{kind}",
                "message": "because",
                "observedGeneration": generation,
            }
            for kind, status in (("Accepted", accepted), ("ResolvedRefs", refs))
        ],
    }


@pytest.mark.parametrize(
    ("body", "ready", "reason"),
    [
        (route(), False, "NotAccepted"),
        (route(parent("True")), True, "Accepted"),
        (route(parent("False")), False, "NoAccepted"),
        (route(parent("True", "False")), False, "NoResolvedRefs"),
        (route(parent("True", generation=1)), False, "NotAccepted"),
        (route(parent("True", name="another")), False, "NotAccepted"),
    ],
)
def test_a_route_is_ready_when_its_gateways_accepted_it(
    body: Object,
    ready: bool,  # noqa: FBT001
    reason: str,
) -> None:
    live = {("HTTPRoute", "small-exposure"): body}
    (found,) = exposure.components(exposed(GATEWAY), [], live, KNOWN)
    assert (found.ready, found.reason) == (ready, reason)
    if not ready:
        assert "gateways/public" in found.message


@pytest.mark.parametrize(
    ("how", "found", "address"),
    [
        (INGRESS, NOTHING_OBSERVED, "https://chat.example.org"),
        ({"type": "Ingress", "ingress": {"hosts": ["*.a.b", "c.d"]}}, NOTHING_OBSERVED, "http://c.d"),
        ({"type": "Ingress", "ingress": {"hosts": ["*.a.b"]}}, NOTHING_OBSERVED, ""),
        (GATEWAY, ObservedExposure(gateway_api=True, listener="https://chat.example.org:8443"),
         "https://chat.example.org:8443"),
        (GATEWAY, KNOWN, ""),
        ({"type": "None"}, NOTHING_OBSERVED, ""),
    ],
)  # fmt: skip
def test_the_public_address(how: Object, found: ObservedExposure, address: str) -> None:
    assert exposure.url(exposed(how), found) == address


def test_the_edges_address_is_https_with_tls() -> None:
    ash = exposed({"edge": {"tls": {"certificateSecretRef": {"name": "x"}}}})
    live: Any = {("Service", "small-edge"): {"spec": {}}}
    assert conditions.edge_url(ash, live) == "https://small-edge.team.svc"


@pytest.mark.parametrize(("works", "ready"), [(True, True), (False, False)])
def test_the_edge_is_ready_while_it_serves_a_certificate_that_works(
    works: bool,  # noqa: FBT001
    ready: bool,  # noqa: FBT001
) -> None:
    choice = CertificateChoice(
        None, good=False, works=works, reason=Reason.CERTIFICATE_EXPIRED, message="it ended"
    )
    edge = Component("edge", ready=True, reason="Available")
    ash = exposed({"edge": {"tls": {"certificateSecretRef": {"name": "x"}}}})
    (found,) = exposure.components(ash, [edge], {}, ObservedExposure(choice))
    assert found.ready is ready
    assert exposure.conditions(ObservedExposure(choice)) == {
        "CertificateReady": ("False", "CertificateExpired", "it ended")
    }


def test_without_tls_there_is_no_certificate_condition() -> None:
    assert exposure.conditions(NOTHING_OBSERVED) == {}
