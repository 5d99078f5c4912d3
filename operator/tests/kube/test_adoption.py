"""What bears a name of ours is ours only if something beside the name says so."""

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
def test_what_makes_an_object_ours(metadata: dict[str, Any], *, ours: bool) -> None:
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


def test_only_a_stateful_set_takes_claims_one_for_each_pod() -> None:
    assert adoption.claims(stateful_set(2)) == {CLAIM, (CLAIM[0], "data-demo-mongodb-1")}
    assert adoption.claims({"kind": "Service", "metadata": {"name": "demo-mongodb"}}) == set()


def test_only_claims_of_what_is_about_to_be_made_are_looked_up() -> None:
    live: dict[tuple[str, str], Any] = {("StatefulSet", "demo-mongodb"): {}}
    assert adoption.missing_claims([stateful_set()], live) == []
    assert adoption.missing_claims([stateful_set()], {CLAIM: {}}) == []
    assert adoption.missing_claims([stateful_set()], {}) == [CLAIM]


def test_the_fingerprints_go_to_the_claim_and_come_back() -> None:
    ring = {"2": "ab", "1": "cd"}
    annotations = {Annotation.KEY_RING: ring_annotation(ring)}
    assert ring_of({"metadata": {"annotations": annotations}}) == ring


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_an_annotation_that_says_nothing_is_none(text: str) -> None:
    assert ring_of({"metadata": {"annotations": {Annotation.KEY_RING: text}}}) == {}
    assert ring_of(None) == {}


def test_a_taken_name_is_told_with_what_to_do() -> None:
    says = taken("Secret", "demo-x")
    assert "Secret demo-x" in says
    assert "Rename or delete it" in says
