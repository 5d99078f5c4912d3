"""The rendered NetworkPolicies allow the connections of the table, and no others."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ashchat_core.topology import Service
from ashchat_operator.render import network, platform
from ashchat_operator.render.connections import TABLE, Outside, connections
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import PRIVATE_PORT, labels
from operator_rendering import CONTEXT, changed, resource
from policy_evaluator import End, allowed

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "network.md"
METRICS = {"networkPolicy": {"metricsFrom": ["monitoring"]}}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "minimal": ("minimal", {}),
    "everything": ("everything", METRICS),
    "ingress": (
        "everything",
        {"exposure": {"type": "Ingress", "ingress": {"hosts": ["chat.example.org"]}}},
    ),
    "requests from one namespace": (
        "minimal",
        {"exposure": {"type": "None"}, "networkPolicy": {"requestsFrom": ["gateways"]}},
    ),
}
PORTS = (22, 53, 443, 465, 587, 2737, 5353, 5672, 6379, 8080, 8088, 8443, 9000, 15672, 15692, 27017)


ANYBODY = End()


def pod(ash: AshChat, component: str, namespace: str | None = None) -> End:
    where = namespace or ash.namespace
    return End(where, labels(ash, component), {"kubernetes.io/metadata.name": where})


def stranger(namespace: str, name: str = "stranger") -> End:
    return End(
        namespace, {"app.kubernetes.io/name": name}, {"kubernetes.io/metadata.name": namespace}
    )


def ends(ash: AshChat) -> dict[str, list[End]]:
    """Return the endpoints behind each name in the table."""
    everyone = [ANYBODY, stranger("elsewhere"), stranger(ash.namespace)]
    routers = ash.spec.network_policy.requests_from
    return {
        Outside.CLIENTS: everyone,
        Outside.INTERNET: everyone,
        Outside.DNS: [*everyone, stranger("kube-system", "coredns")],
        Outside.ROUTERS: [stranger(name) for name in routers] or everyone,
        Outside.METRICS: [stranger(name) for name in ash.spec.network_policy.metrics_from],
        Outside.OPERATOR: [stranger(CONTEXT.operator_namespace, "ashchat-operator")],
        **{name: [pod(ash, name)] for name in platform.components(ash)},
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_exactly_the_connections_of_the_table_are_allowed(variant: str) -> None:
    ash = changed(*VARIANTS[variant])
    names = platform.components(ash)
    policies = network.render(ash, CONTEXT, names)
    there = ends(ash)
    # (from, to, port, protocol), with each endpoint instead of its name.
    rows = {
        (source, target, row.port, protocol)
        for row in connections(ash, names)
        for source, target in product(there[row.source], there[row.target])
        for protocol in (("TCP", "UDP") if row.target == Outside.DNS else ("TCP",))
    }
    ours = {there[name][0] for name in names}

    def tabled(source: End, target: End, port: int, protocol: str) -> bool:
        """Return whether a row allows the connection, including a row whose other end is any."""
        leaves = source not in ours or any(
            (source, end, port, protocol) in rows for end in (target, ANYBODY)
        )
        enters = target not in ours or any(
            (end, target, port, protocol) in rows for end in (source, ANYBODY)
        )
        return leaves and enters

    known = {ANYBODY, stranger("kube-system"), stranger(CONTEXT.operator_namespace), *ours}
    known |= {end for members in there.values() for end in members}
    # The pods of another AshChat, in the same namespace and in another one.
    other = ash.model_copy(update={"name": "other"})
    known |= {pod(other, name) for name in names}
    known |= {pod(ash, name, "elsewhere") for name in names}
    ports = {*PORTS, *(row[2] for row in rows)}
    checked = 0
    for source, target in product(known, known):
        if source == target or not {source, target} & ours:
            continue
        for port, protocol in product(ports, ("TCP", "UDP")):
            is_allowed = allowed(policies, source, target, port, protocol)
            case = (source, target, port, protocol)
            assert is_allowed == tabled(*case), case
            checked += 1
    assert checked > 10_000


@pytest.mark.parametrize(
    ("source", "target", "port", "may"),
    [
        ("auth", "mongodb", 27017, True),
        ("email", "mongodb", 27017, False),
        ("edge", "redis", 6379, False),
        ("edge", "chat", 8080, True),
        ("edge", "email", 9000, False),
        ("translate", "cache", 6379, True),
        ("translate", "redis", 6379, False),
        ("chat", "auth", 8080, False),
        ("chat", "rabbitmq", 5672, True),
        ("chat", "rabbitmq", 15672, False),
        ("mongodb", "redis", 6379, False),
        ("static", "mongodb", 27017, False),
    ],
)
def test_between_components(source: str, target: str, port: int, may: bool) -> None:  # noqa: FBT001
    ash = resource("minimal")
    policies = network.render(ash, CONTEXT, platform.components(ash))
    assert allowed(policies, pod(ash, source), pod(ash, target), port) is may


def test_which_components_connect_outside_the_namespace() -> None:
    ash = resource("everything")  # the mail server on 465, Google on 443
    policies = network.render(ash, CONTEXT, platform.components(ash))
    leaving = {
        (name, port)
        for name in platform.components(ash)
        for port in (25, 80, 443, 465, 587, 8080)
        if allowed(policies, pod(ash, name), ANYBODY, port)
    }
    assert leaving == {("email", 465), ("translate", 443)}


def test_services_may_query_dns_and_backends_may_not() -> None:
    ash = resource("minimal")
    policies = network.render(ash, CONTEXT, platform.components(ash))
    dns = stranger("kube-system", "coredns")
    resolving = {
        name
        for name in platform.components(ash)
        if allowed(policies, pod(ash, name), dns, 53, "UDP")
    }
    assert resolving == {"edge", *Service}


def test_the_operator_comes_from_its_own_namespace_only() -> None:
    ash = resource("minimal")
    policies = network.render(ash, CONTEXT, platform.components(ash))
    for namespace, may in ((CONTEXT.operator_namespace, True), ("elsewhere", False)):
        operator = stranger(namespace, "ashchat-operator")
        assert allowed(policies, operator, pod(ash, "rabbitmq"), 15672) is may
        assert allowed(policies, operator, pod(ash, "chat"), PRIVATE_PORT) is may
    assert not allowed(policies, stranger(CONTEXT.operator_namespace), pod(ash, "rabbitmq"), 15672)


def test_metrics_are_reachable_from_the_named_namespaces() -> None:
    ash = changed("minimal", METRICS)
    policies = network.render(ash, CONTEXT, platform.components(ash))
    assert allowed(policies, stranger("monitoring"), pod(ash, "auth"), PRIVATE_PORT)
    assert allowed(policies, stranger("monitoring"), pod(ash, "rabbitmq"), 15692)
    assert not allowed(policies, stranger("monitoring"), pod(ash, "auth"), 8080)
    assert not allowed(policies, stranger("elsewhere"), pod(ash, "auth"), PRIVATE_PORT)


def test_the_kubelets_probes_are_allowed() -> None:
    ash = resource("minimal")
    policies = network.render(ash, CONTEXT, platform.components(ash))
    assert allowed(policies, End(node=True), pod(ash, "mongodb"), 8088)


def test_only_its_clients_may_connect_to_an_external_backend() -> None:
    ash = resource("minimal")
    present = [name for name in platform.components(ash) if name != "mongodb"]
    policies = network.render(ash, CONTEXT, present, {"mongodb": 27027})
    reaching = {name for name in present if allowed(policies, pod(ash, name), ANYBODY, 27027)}
    assert reaching == {"auth", "chat"}


def test_mode_disabled_renders_no_policy() -> None:
    ash = changed("minimal", {"networkPolicy": {"mode": "Disabled"}})
    assert not network.render(ash, CONTEXT, platform.components(ash))


def test_every_component_has_a_policy_and_one_denies_the_rest() -> None:
    ash = resource("everything")
    names = {
        item["metadata"]["name"] for item in network.render(ash, CONTEXT, platform.components(ash))
    }
    assert names == {f"demo-{name}" for name in (*platform.components(ash), "network")}


def test_the_documentation_matches_the_table() -> None:
    rows = [
        f"| {row.source} | {row.target} | {row.port if row.port.isdigit() else f'`{row.port}`'} "
        f"| {row.why} |"
        for row in TABLE
    ]
    page = DOCS.read_text()
    there = [line for line in page.splitlines() if line.startswith("| ")]
    begin = there.index("| from | to | port | why |") + 1
    assert there[begin : begin + len(rows)] == rows
