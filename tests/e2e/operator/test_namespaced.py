"""A second operator alongside the first, with Roles in one namespace and no other permissions.

The images of its AshChat do not exist, so that only the operator is active.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import API_VERSION, FINALIZER, Label
from ashchat_dev.environment import Environment
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.kube.kubectl import CommandFailedError
from ashchat_dev.suite_namespaces import SCOPED
from ashchat_dev.waiting import until
from ashchat_e2e import worker
from ashchat_e2e.operator_pods import own_metrics
from ashchat_e2e.scoped_operator import helm, install_scoped
from ashchat_e2e.temporary_namespace import namespace
from ashchat_operator.resource.images import COMPONENTS

PLACE = SCOPED[10]
RELEASE = "second"
NAME = "small"
WITHIN_S = 60.0

Object = dict[str, Any]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def second(cluster: Cluster) -> AsyncIterator[None]:
    """Run the second operator in its namespace, which the first one excludes."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    images = dict.fromkeys(COMPONENTS, "localhost/none:none")
    async with namespace(cluster, PLACE, pods=True, labels=labels):
        await install_scoped(cluster, PLACE, RELEASE, images)
        yield


def small() -> Object:
    spec: Object = {
        "exposure": {"type": "None"},
        "email": {"smtp": {"host": "mail.invalid", "from": "a@example.org"}},
    }
    worker.request_little(spec)
    return {
        "apiVersion": API_VERSION,
        "kind": "AshChat",
        "metadata": {"name": NAME, "namespace": PLACE},
        "spec": spec,
    }


async def test_it_needs_nothing_cluster_scoped(cluster: Cluster, second: None) -> None:  # noqa: ARG001
    for kind in ("clusterroles", "clusterrolebindings"):
        found = await cluster.get(
            f"/apis/rbac.authorization.k8s.io/v1/{kind}",
            labelSelector=f"app.kubernetes.io/instance={RELEASE}",
        )
        assert not found["items"], kind
    account = f"system:serviceaccount:{PLACE}:{RELEASE}"

    async def may(namespace: str, resource: str, verb: str, group: str = "") -> bool:
        review = {
            "spec": {
                "user": account,
                "resourceAttributes": {
                    "namespace": namespace,
                    "resource": resource,
                    "verb": verb,
                    "group": group,
                },
            }
        }
        answer = await cluster.request(
            "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review
        )
        return bool(answer["status"]["allowed"])

    assert await may(PLACE, "secrets", "list")
    for resource, group in (
        ("secrets", ""),
        ("ashchats", "ashchat.dev"),
        ("leases", "coordination.k8s.io"),
    ):
        assert not await may(cluster.namespace, resource, "list", group)
    assert not await may("", "customresourcedefinitions", "get", "apiextensions.k8s.io")


async def test_it_reconciles_its_namespace(
    cluster: Cluster,
    first: Environment,
    second: None,  # noqa: ARG001
) -> None:
    await helm(cluster, "test", RELEASE, "--timeout=60s", namespace=PLACE)
    await cluster.create("ashchats", small(), namespace=PLACE)

    async def told() -> Object | None:
        status = (await cluster.read("ashchats", NAME, namespace=PLACE)).get("status", {})
        reasons = {item["name"]: item["reason"] for item in status.get("components", [])}
        return status if reasons.get("redis") == "ImagePullBackOff" else None

    status = await until(told, within=WITHIN_S, what="the second operator's status")
    conditions = {item["type"]: item["status"] for item in status["conditions"]}
    assert conditions["Ready"] == "False"
    assert conditions[ConditionType.SCHEMA_CURRENT] == "True"
    name = f"{NAME}-rabbitmq"
    before = await cluster.read("configmaps", name, namespace=PLACE)
    await cluster.delete("configmaps", name, namespace=PLACE)

    async def recreated() -> Object | None:
        now = await cluster.find("configmaps", name, namespace=PLACE)
        return now if now and now["metadata"]["uid"] != before["metadata"]["uid"] else None

    await until(recreated, within=WITHIN_S, what="the deleted object re-created")
    (pod,) = await cluster.list("pods", {Label.INSTANCE.value: RELEASE}, namespace=PLACE)
    log = await cluster.logs(pod["metadata"]["name"], namespace=PLACE)
    assert "forbidden" not in log
    metrics = await cluster.metrics(pod["metadata"]["name"], namespace=PLACE)
    assert metrics.total("ashchat_operator_api_requests_total", code="403") == 0
    assert metrics.total("ashchat_operator_reconcile_total", result="error") == 0
    # The cluster's operator excludes the namespace, so it has no metrics for the resource.
    async with worker.client(first, 0) as main:
        there = await until(lambda: own_metrics(main), what="its metrics", ignoring=(ApiError,))
    assert not [
        x for x in there.labels("ashchat_operator_resource_condition") if x["namespace"] == PLACE
    ]


async def test_an_uninstall_fails_while_only_the_operator_can_finish_a_deletion(
    cluster: Cluster,
    second: None,  # noqa: ARG001
) -> None:
    # Stop the operator, so that it does not restore the finalizer.
    await cluster.patch("deployments", RELEASE, {"spec": {"replicas": 0}}, namespace=PLACE)

    async def ended() -> bool:
        labels = {Label.COMPONENT.value: "operator"}
        return not await cluster.list("pods", labels, namespace=PLACE)

    await until(ended, within=WITHIN_S, what="the second operator stopped")
    finalizers = {"metadata": {"finalizers": [FINALIZER]}}
    await cluster.patch("ashchats", NAME, finalizers, namespace=PLACE)
    with pytest.raises(CommandFailedError):
        await helm(cluster, "uninstall", RELEASE, "--timeout=60s", namespace=PLACE)
    (pod,) = await cluster.list("pods", {Label.COMPONENT.value: "uninstall"}, namespace=PLACE)
    says = await cluster.logs(pod["metadata"]["name"], namespace=PLACE)
    assert f"{PLACE}/{NAME}" in says
    assert "deletionPolicy" in says
    await cluster.patch("ashchats", NAME, {"metadata": {"finalizers": None}}, namespace=PLACE)
    await helm(cluster, "uninstall", RELEASE, "--timeout=60s", namespace=PLACE)
    with suppress(ApiError):
        await cluster.delete("ashchats", NAME, namespace=PLACE)
    assert await cluster.find("deployments", RELEASE, namespace=PLACE) is None
