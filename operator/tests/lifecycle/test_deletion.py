"""When there is a finalizer, which objects are deleted, and what the status reports meanwhile."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ashchat_core.api.names import FINALIZER
from ashchat_operator.lifecycle.deletion import (
    belongs,
    condition,
    finalizers,
    others,
    policy,
    waited,
)
from ashchat_operator.render import platform
from ashchat_operator.resource.enums import DeletionPolicy
from operator_rendering import CONTEXT, fixed_credentials, resource

Object = dict[str, Any]


def ashchat(written: str | None = None, *held: str, name: str = "demo") -> Object:
    return {
        "metadata": {"name": name, "uid": "u1", "finalizers": list(held)},
        "spec": {} if written is None else {"deletionPolicy": written},
    }


def child(name: str, component: str, instance: str = "demo", **metadata: Any) -> Object:
    labels = {
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "ashchat-operator",
    }
    return {"metadata": {"name": name, "labels": labels, **metadata}}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (ashchat(), None),
        (ashchat("Retain"), None),
        (ashchat("Retain", "other/one"), None),
        (ashchat("Delete"), [FINALIZER]),
        (ashchat("Delete", "other/one"), ["other/one", FINALIZER]),
        (ashchat("Delete", FINALIZER), None),
        (ashchat("Retain", FINALIZER), []),
        (ashchat("Retain", FINALIZER, "other/one"), ["other/one"]),
    ],
)
def test_only_deletion_policy_delete_has_a_finalizer(
    body: Object, wanted: list[str] | None
) -> None:
    assert finalizers(body) == wanted


def test_the_finalizers_of_others_stay() -> None:
    assert others(ashchat("Delete", "a/b", FINALIZER, "c/d")) == ["a/b", "c/d"]


@pytest.mark.parametrize("spec", [{}, {"deletionPolicy": "Later"}, {"deletionPolicy": None}])
def test_an_invalid_deletion_policy_means_retain(spec: Object) -> None:
    assert policy({"spec": spec}) is DeletionPolicy.RETAIN


def test_the_wait_is_measured_from_the_deletion_timestamp() -> None:
    body = {"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}
    now = datetime(2026, 1, 2, 3, 14, 5, tzinfo=UTC)
    assert waited(body, now) == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("data-demo-mongodb-0", "mongodb"),
        ("demo-static", "static"),
        ("demo-auth-key-ring-copy", "auth"),
        ("demo-rabbitmq-admin", "rabbitmq"),
    ],
)
def test_data_with_the_resources_name_and_label_is_deleted(name: str, component: str) -> None:
    assert belongs(ashchat(), child(name, component))


@pytest.mark.parametrize(
    "other",
    [
        child("demo-b-auth-credentials", "auth", "demo-b"),
        child("demo-b-auth-credentials", "auth"),  # its label was changed manually
        child("data-demo-b-mongodb-0", "mongodb"),
        child("demonstration-static", "static"),
        child("my-own", "auth"),
        child("demo-auth-credentials", "auth", ownerReferences=[{"uid": "u2"}]),
        {"metadata": {"name": "demo-auth-credentials"}},
    ],
)
def test_objects_that_do_not_belong_to_the_resource_stay(other: Object) -> None:
    assert not belongs(ashchat(), other)


@pytest.mark.parametrize("name", ["minimal", "everything"])
def test_every_retained_object_belongs_to_its_resource(name: str) -> None:
    ash = resource(name)
    body = {"metadata": {"name": ash.name, "uid": ash.uid}}
    objects = platform.render(ash, CONTEXT, fixed_credentials(ash))
    retained = [item for item in objects if "ownerReferences" not in item["metadata"]]
    assert retained
    assert all(belongs(body, item) for item in retained)


def test_a_waiting_deletion_reports_what_it_waits_for() -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "lastTransitionTime": "then"}
    kept = {"type": "Degraded", "status": "False"}
    told = condition([ready, kept], ["Secret demo-x"], 3, "now")
    assert [item["type"] for item in told] == ["Ready", "Degraded"]
    assert told[0]["reason"] == "Deleting"
    assert "Secret demo-x" in told[0]["message"]
    assert told[0]["lastTransitionTime"] == "now"
    assert condition(told, ["Secret demo-x"], 3, "later") == told
