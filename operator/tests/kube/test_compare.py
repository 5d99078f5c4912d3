"""Which changes are a difference, which are an addition, and which are neither."""

import copy
from typing import Any

import pytest

from ashchat_operator.kube.compare import differs, without_additions

Object = dict[str, Any]


def desired() -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "demo-chat", "namespace": "ashchat", "labels": {"a": "b"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "chat",
                            "image": "chat:1",
                            "env": [{"name": "ONE", "value": "1"}],
                            "resources": {"limits": {"cpu": "0.5"}},
                        }
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                }
            },
        },
    }


OURS = {
    "f:metadata": {"f:labels": {"f:a": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:selector": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"chat"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:env": {'k:{"name":"ONE"}': {".": {}, "f:name": {}, "f:value": {}}},
                    }
                },
                "f:volumes": {'k:{"name":"tmp"}': {".": {}, "f:name": {}, "f:emptyDir": {}}},
            }
        },
    },
}


def live() -> Object:
    """Return the object as the API server returns it, including defaults."""
    body = desired()
    body["spec"]["progressDeadlineSeconds"] = 600
    pod = body["spec"]["template"]["spec"]
    pod["restartPolicy"] = "Always"
    pod["containers"][0]["resources"] = {"limits": {"cpu": "500m"}}
    body["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "1"}
    entry = {"manager": "ashchat-operator", "operation": "Apply", "fieldsV1": OURS}
    body["metadata"]["managedFields"] = [entry]
    return body


def test_defaults_and_equivalent_quantities_are_no_difference() -> None:
    assert not differs(desired(), live())
    assert without_additions(desired(), live()) is None


@pytest.mark.parametrize("field", ["replicas", "image", "env", "label"])
def test_a_changed_or_missing_field_is_a_difference(field: str) -> None:
    changed = live()
    container = changed["spec"]["template"]["spec"]["containers"][0]
    match field:
        case "replicas":
            changed["spec"]["replicas"] = 3
        case "image":
            container["image"] = "other"
        case "env":
            container["env"] = []
        case _:
            changed["metadata"]["labels"] = {}
    assert differs(desired(), changed)


def test_a_field_that_is_no_longer_rendered_is_a_difference() -> None:
    wanted = desired()
    wanted["spec"]["template"]["spec"]["containers"][0]["env"] = []
    assert differs(wanted, live())


def test_an_object_that_is_not_applied_yet_is_a_difference() -> None:
    body = live()
    body["metadata"]["managedFields"] = []
    assert differs(desired(), body)


@pytest.mark.parametrize("annotated", [True, False])
def test_a_rollout_restart_is_left_alone(*, annotated: bool) -> None:
    wanted, restarted = desired(), live()
    if annotated:
        wanted["spec"]["template"]["metadata"] = {"annotations": {"ours": "1"}}
    stamp = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    template = restarted["spec"]["template"]
    template["metadata"] = {"annotations": {**stamp, **({"ours": "1"} if annotated else {})}}
    path: Object = {"f:kubectl.kubernetes.io/restartedAt": {}}
    fields = {"f:spec": {"f:template": {"f:metadata": {"f:annotations": path}}}}
    entry = {"manager": "kubectl-rollout", "operation": "Update", "fieldsV1": fields}
    restarted["metadata"]["managedFields"].append(entry)
    assert without_additions(wanted, restarted) is None
    path["f:theirs"] = {}
    template["metadata"]["annotations"]["theirs"] = "2"
    corrected = without_additions(wanted, restarted)
    assert corrected is not None
    del template["metadata"]["annotations"]["theirs"]
    assert corrected["spec"] == restarted["spec"]


def test_only_additions_of_others_are_removed() -> None:
    added = live()
    pod = added["spec"]["template"]["spec"]
    pod["hostNetwork"] = True
    pod["containers"].append({"name": "intruder", "image": "x"})
    pod["containers"][0]["env"].append({"name": "TWO", "value": "2"})
    pod["volumes"].append({"name": "more", "emptyDir": {}})
    added["spec"]["selector"]["extra"] = {"x": "y"}
    added["metadata"]["labels"]["theirs"] = "yes"
    fields = {
        "f:metadata": {"f:labels": {"f:theirs": {}}},
        "f:spec": {
            "f:selector": {},
            "f:template": {
                "f:spec": {
                    "f:hostNetwork": {},
                    "f:containers": {
                        'k:{"name":"chat"}': {
                            "f:env": {'k:{"name":"TWO"}': {".": {}, "f:name": {}, "f:value": {}}}
                        },
                        'k:{"name":"intruder"}': {".": {}, "f:name": {}, "f:image": {}},
                    },
                    "f:volumes": {'k:{"name":"more"}': {".": {}, "f:name": {}}},
                }
            },
        },
    }
    entry = {"manager": "kubectl", "operation": "Update", "fieldsV1": fields}
    added["metadata"]["managedFields"].append(entry)
    corrected = without_additions(desired(), added)
    assert corrected is not None
    plain = live()
    for body in (corrected, plain):
        del body["metadata"]["managedFields"]
    assert corrected == plain


def test_others_fields_in_the_status_and_their_annotations_are_left_alone() -> None:
    body = live()
    body["status"] = {"replicas": 2}
    body["metadata"]["managedFields"].append(
        {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "subresource": "status",
            "fieldsV1": {"f:status": {"f:replicas": {}}, "f:spec": {"f:replicas": {}}},
        }
    )
    body["metadata"]["managedFields"].append(
        {
            "manager": "kubectl-rollout",
            "operation": "Update",
            "fieldsV1": {"f:metadata": {"f:annotations": {"f:note": {}}}},
        }
    )
    assert without_additions(desired(), copy.deepcopy(body)) is None
    assert not differs(desired(), body)
