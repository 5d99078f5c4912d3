"""An evaluator of NetworkPolicies, written from the API's documentation, not from our code.

https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """One end of a connection: a pod, or, without labels, an address outside the cluster."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    node: bool = False
    """The node that the other end runs on: never held up."""

    @property
    def key(self) -> tuple[object, ...]:
        """A value that identifies the endpoint."""
        return (self.namespace, frozenset(self.labels.items()), self.node)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, End) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def is_pod(self) -> bool:
        """Whether policies can select this endpoint."""
        return bool(self.namespace)


def allowed(
    policies: Sequence[Policy], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Return whether egress at the source and ingress at the target allow the connection."""
    if source.node or target.node:
        return True
    return _passes(policies, "egress", source, target, (port, protocol)) and _passes(
        policies, "ingress", target, source, (port, protocol)
    )


def _passes(
    policies: Sequence[Policy], direction: str, own: End, other: End, via: tuple[int, str]
) -> bool:
    selecting = [
        policy["spec"]
        for policy in policies
        if own.is_pod
        and policy["metadata"]["namespace"] == own.namespace
        and direction.capitalize() in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], own.labels)
    ]
    if not selecting:
        return True
    word = {"egress": "to", "ingress": "from"}[direction]
    return any(
        _rule(rule, word, own, other, via) for spec in selecting for rule in spec.get(direction, [])
    )


def _rule(rule: Policy, word: str, own: End, other: End, via: tuple[int, str]) -> bool:
    ports, peers = rule.get("ports", []), rule.get(word, [])
    return (
        not ports
        or any(
            item.get("protocol", "TCP") == via[1] and item.get("port", via[0]) == via[0]
            for item in ports
        )
    ) and (not peers or any(_peer(peer, own, other) for peer in peers))


def _peer(peer: Policy, own: End, other: End) -> bool:
    assert "ipBlock" not in peer, "addresses are not evaluated"
    if not other.is_pod:
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], other.namespace_labels):
            return False
    elif other.namespace != own.namespace:
        return False
    return _selects(peer.get("podSelector", {}), other.labels)


def _selects(selector: Policy, labels: Mapping[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
