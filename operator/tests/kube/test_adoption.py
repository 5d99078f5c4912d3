"""An object with a name of ours is ours only if something other than its name shows it."""

from typing import Any

import pytest

from ashchat_core.api.names import Annotation
from ashchat_operator.kube import adoption
from ashchat_operator.kube.adoption import is_ours, ring_annotation, ring_of, taken
from operator_rendering import resource

ASH = resource("minimal")
LABELS = {
    "app.kubernetes.io/instance": ASH.name,
    "app.kubernetes.io/managed-by": "ashchat-operator",
}
APPLIED = {"manager": "ashchat-operator", "operation": "Apply"}


@pytest.mark.parametrize(
    ("metadata", "ours"),
    [
        ({}, False),
        ({"labels": LABELS}, True),
        ({"labels": LABELS | {"app.kubernetes.io/instance": "other"}}, False),
        ({"labels": {"app.kubernetes.io/instance": ASH.name}}, False),
        ({"ownerReferences": [{"uid": ASH.uid}]}, True),
        ({"ownerReferences": [{"uid": "another"}]}, False),
        ({"managedFields": [APPLIED]}, True),
        ({"managedFields": [APPLIED | {"operation": "Update"}]}, False),
        ({"managedFields": [APPLIED | {"manager": "kubectl"}]}, False),
    ],
)
def test_which_objects_are_ours(metadata: dict[str, Any], *, ours: bool) -> None:
    assert is_ours(ASH, {"metadata": {"name": "x", **metadata}}) is ours


def stateful_set(replicas: int = 1) -> dict[str, Any]:
    return {
        "kind": "StatefulSet",
        "metadata": {"name": "demo-mongodb"},
        "spec": {
            "replicas": replicas,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        },
    }


CLAIM = ("PersistentVolumeClaim", "data-demo-mongodb-0")


def test_only_a_stateful_set_uses_claims_one_for_each_pod() -> None:
    assert adoption.claims(stateful_set(2)) == {CLAIM, (CLAIM[0], "data-demo-mongodb-1")}
    assert adoption.claims({"kind": "Service", "metadata": {"name": "demo-mongodb"}}) == set()


def test_only_claims_of_missing_stateful_sets_are_looked_up() -> None:
    live: dict[tuple[str, str], Any] = {("StatefulSet", "demo-mongodb"): {}}
    assert adoption.missing_claims([stateful_set()], live) == []
    assert adoption.missing_claims([stateful_set()], {CLAIM: {}}) == []
    assert adoption.missing_claims([stateful_set()], {}) == [CLAIM]


def test_the_fingerprints_round_trip_through_the_claims_annotation() -> None:
    ring = {"2": "ab", "1": "cd"}
    annotations = {Annotation.KEY_RING: ring_annotation(ring)}
    assert ring_of({"metadata": {"annotations": annotations}}) == ring


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_an_invalid_annotation_is_ignored(text: str) -> None:
    assert ring_of({"metadata": {"annotations": {Annotation.KEY_RING: text}}}) == {}
    assert ring_of(None) == {}


def test_a_taken_name_is_reported_with_what_to_do() -> None:
    says = taken("Secret", "demo-x")
    assert "Secret demo-x" in says
    assert "Rename or delete it" in says
