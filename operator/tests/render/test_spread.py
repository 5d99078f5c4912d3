"""Pods of a component prefer different nodes and zones."""

from typing import Any

from ashchat_operator.render.objects import spread
from operator_rendering import changed

Object = dict[str, Any]


def test_nodes_without_zones_are_spread_over() -> None:
    """The scheduler scores no node that lacks the label of any spread constraint."""
    fields = spread(changed("minimal", {}), "chat")
    (constraint,) = fields["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"


def test_zones_are_preferred_and_not_required() -> None:
    (rule,) = spread(changed("minimal", {}), "chat")["affinity"]["podAntiAffinity"].values()
    ((term,),) = [[each["podAffinityTerm"] for each in rule]]
    assert term["topologyKey"] == "topology.kubernetes.io/zone"
    assert term["matchLabelKeys"] == ["pod-template-hash"]
