"""NetworkPolicies: deny everything, then allow each connection of the table.

Policies are additive: to allow another connection, users add another policy. The kubelet's
probes come from the pod's node and are always allowed.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Final

from ashchat_core.api.names import Label
from ashchat_operator.render.connections import Connection, Outside, connections
from ashchat_operator.render.objects import metadata
from ashchat_operator.resource.enums import NetworkPolicyMode
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext, child, selector
from ashchat_operator.resource.types import Object

NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
"""The API server sets it on every namespace."""

OPERATOR_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {"app.kubernetes.io/name": "ashchat-operator"}
)
"""The labels of the operator's pods, set by the chart."""

DENY: Final = "network"
_UDP_TOO: Final = frozenset({Outside.DNS.value})


def render(
    ash: AshChat,
    context: ClusterContext,
    present: Iterable[str],
    external: Mapping[str, int] = MappingProxyType({}),
) -> list[Object]:
    """Return the policies, or an empty list in mode Disabled.

    Args:
        ash: The AshChat.
        context: Properties of the cluster, including the operator's namespace.
        present: The components.
        external: The port of each external backend.
    """
    if ash.spec.network_policy.mode is NetworkPolicyMode.DISABLED:
        return []
    names = list(present)
    allowed = sorted(
        set(connections(ash, names, external)), key=lambda x: (x.source, x.target, x.port)
    )
    return [
        _policy(ash, DENY, {}),
        *(_component(ash, context, name, allowed) for name in names),
    ]


def _component(
    ash: AshChat, context: ClusterContext, name: str, allowed: Iterable[Connection]
) -> Object:
    rules: Object = {"ingress": [], "egress": []}
    for (source, target), group in groupby(allowed, key=lambda x: (x.source, x.target)):
        ports = [x.port for x in group]
        if target == name:
            rules["ingress"].append(_rule("from", _peers(ash, context, source), source, ports))
        if source == name:
            rules["egress"].append(_rule("to", _peers(ash, context, target), target, ports))
    return _policy(ash, name, {key: value for key, value in rules.items() if value})


def _policy(ash: AshChat, component: str, rules: Object) -> Object:
    pods = selector(ash, component)
    if component == DENY:
        del pods[Label.COMPONENT]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(ash, component, name=child(ash, component)),
        "spec": {
            "podSelector": {"matchLabels": pods},
            "policyTypes": ["Ingress", "Egress"],
            **rules,
        },
    }


def _rule(word: str, peers: list[Object], end: str, ports: list[int]) -> Object:
    protocols = ["TCP", "UDP"] if end in _UDP_TOO else ["TCP"]
    rule: Object = {
        "ports": [{"port": port, "protocol": protocol} for port in ports for protocol in protocols]
    }
    return {word: peers, **rule} if peers else rule


def _peers(ash: AshChat, context: ClusterContext, end: str) -> list[Object]:
    """Return the peers at one end of a connection; empty means any."""
    match end:
        case Outside.CLIENTS | Outside.INTERNET | Outside.DNS:
            # The cluster's DNS may be on the node's own network (NodeLocal DNSCache), where no
            # label selects it.
            return []
        case Outside.OPERATOR:
            return [
                {
                    "namespaceSelector": _namespaces([context.operator_namespace]),
                    "podSelector": {"matchLabels": dict(OPERATOR_LABELS)},
                }
            ]
        case Outside.METRICS:
            return [{"namespaceSelector": _namespaces(ash.spec.network_policy.metrics_from)}]
        case Outside.ROUTERS:
            names = ash.spec.network_policy.requests_from
            return [{"namespaceSelector": _namespaces(names)}] if names else []
        case _:
            return [{"podSelector": {"matchLabels": selector(ash, end)}}]


def _namespaces(names: Iterable[str]) -> Object:
    return {
        "matchExpressions": [{"key": NAMESPACE_LABEL, "operator": "In", "values": sorted(names)}]
    }
