"""Only a change that was reverted counts as drift; a resource's metrics are removed with it."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from ashchat_operator import metrics
from ashchat_operator.kube.api import _kind
from ashchat_operator.kube.changes import Change
from ashchat_operator.kube.drift import Drift


def body(name: str, value: str = "1") -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}}


def change(name: str) -> Change:
    return Change(f"applied ConfigMap {name}", "ConfigMap", name)


def test_the_first_pass_and_a_new_desired_state_are_no_drift() -> None:
    drift = Drift()
    assert not list(drift.corrected([body("a")], [change("a")]))
    assert not list(drift.corrected([body("a", "2")], [change("a")]))
    assert not list(drift.corrected([body("a", "2"), body("b")], [change("b")]))


def test_a_write_without_a_new_desired_state_is_drift() -> None:
    drift = Drift()
    assert not list(drift.corrected([body("a")], []))
    assert list(drift.corrected([body("a")], [change("a")])) == ["ConfigMap"]
    assert list(drift.corrected([body("a")], [change("stranger")])) == ["ConfigMap"]
    assert not list(Drift().corrected([body("a")], [change("a")])), "after a restart"


def test_pruning_an_object_that_is_no_longer_desired_is_no_drift() -> None:
    drift = Drift()
    list(drift.corrected([body("a"), body("b")], []))
    assert not list(drift.corrected([body("a")], [change("b")]))


def shown(namespace: str) -> set[str]:
    return {
        sample.name
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.labels.get("namespace") == namespace
    }


def test_the_metrics_of_a_resource_are_removed_with_it() -> None:
    status = {
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Paused", "status": "False"}]
    }
    metrics.publish_conditions("gone", "demo", status)
    metrics.publish_conditions("stays", "demo", status)
    metrics.publish_dead_letters("gone", "demo", {"A.dead": 2})
    assert REGISTRY.get_sample_value(
        "ashchat_operator_resource_condition",
        {"namespace": "gone", "name": "demo", "type": "Ready", "status": "True"},
    )
    assert {"ashchat_operator_dead_letter_messages", "ashchat_operator_resource_paused"} <= shown(
        "gone"
    )
    metrics.forget("gone", "demo")
    assert not shown("gone")
    assert shown("stays")
    metrics.forget("stays", "demo")


def test_a_failed_pass_is_counted_and_timed() -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    errors = value("ashchat_operator_reconcile_total", result="error")
    passes = value("ashchat_operator_reconcile_duration_seconds_count")
    with metrics.reconciling():
        pass
    with pytest.raises(ValueError, match="x"), metrics.reconciling():
        raise ValueError("x")
    assert value("ashchat_operator_reconcile_total", result="error") == errors + 1
    assert value("ashchat_operator_reconcile_duration_seconds_count") == passes + 2


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/namespaces/secrets/pods/services", "Pod"),
        ("/apis/apps/v1/deployments", "Deployment"),
        ("/apis/ashchat.dev/v1alpha1/namespaces/a/ashchats/b/status", "AshChat"),
        ("/openapi/v3/apis/ashchat.dev/v1alpha1", "other"),
    ],
)
def test_a_request_is_counted_by_the_kind_in_its_path(path: str, kind: str) -> None:
    assert _kind(path) == kind
