"""A second operator, with Roles in one namespace and no right beyond it, beside the first.

Its AshChat has images that nobody can pull: only the operator is at work here.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import API_VERSION, FINALIZER, Label
from ashchat_dev.kube.cluster import ApiError, Cluster, CommandFailedError
from ashchat_dev.waiting import until
from ashchat_e2e.operator_pods import OPERATOR, configured
from ashchat_node.paths import Paths

CHART = Path(__file__).parents[3] / "charts" / "ashchat-operator"
PLACE = "ashchat-runtime"
RELEASE = "second"
NAME = "small"
WITHIN_S = 60.0

Object = dict[str, Any]
Helm = Callable[..., Any]


@pytest.fixture(scope="module")
def helm(cluster: Cluster) -> Helm:
    program = os.environ.get("HELM") or str(Paths().cache / "bin" / "helm")

    async def run(*arguments: str, stdin: str = "", namespace: str = PLACE) -> str:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            f"--kubeconfig={cluster.kubeconfig}",
            f"--namespace={namespace}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        if process.returncode:
            raise CommandFailedError(f"helm {' '.join(arguments)}: {err.decode().strip()}")
        return out.decode()

    return run


def excluding(namespaces: str) -> Object:
    """Return the patch of an operator's Deployment that makes it leave namespaces alone."""
    env = [{"name": "ASHCHAT_OPERATOR_EXCLUDE_NAMESPACES", "value": namespaces}]
    return {"template": {"spec": {"containers": [{"name": "operator", "env": env}]}}}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def second(cluster: Cluster, helm: Helm) -> AsyncIterator[None]:
    """The second operator in its namespace, which the first one leaves alone."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await configured(cluster, excluding(PLACE))
    await cluster.create("namespaces", {"metadata": {"name": PLACE, "labels": labels}})
    try:
        first = json.loads(
            await helm(
                "get", "values", OPERATOR, "--all", "-o=json", namespace=cluster.operator_namespace
            )
        )
        values = {
            "image": first["image"],
            "images": dict.fromkeys(first["images"], "localhost/none:none"),
            "watchNamespaces": [PLACE],
            "crd": {"install": False},
        }
        await helm(
            "install", RELEASE, str(CHART), "--values=-", "--wait", "--timeout=90s",
            stdin=yaml.safe_dump(values),
        )  # fmt: skip
        yield
    finally:
        await cluster.delete("namespaces", PLACE)
        await configured(cluster, excluding(""))

        async def gone() -> bool:
            return await cluster.find("namespaces", PLACE) is None

        await until(gone, within=90, what="the namespace gone")


def small() -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "AshChat",
        "metadata": {"name": NAME, "namespace": PLACE},
        "spec": {
            "exposure": {"type": "None"},
            "email": {"smtp": {"host": "mail.invalid", "from": "a@example.org"}},
        },
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


async def test_it_looks_after_its_namespace(cluster: Cluster, helm: Helm, second: None) -> None:  # noqa: ARG001
    await helm("test", RELEASE, "--timeout=60s")
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

    async def anew() -> Object | None:
        now = await cluster.find("configmaps", name, namespace=PLACE)
        return now if now and now["metadata"]["uid"] != before["metadata"]["uid"] else None

    await until(anew, within=WITHIN_S, what="a deleted object made anew")
    (pod,) = await cluster.list("pods", {Label.INSTANCE.value: RELEASE}, namespace=PLACE)
    log = await cluster.logs(pod["metadata"]["name"], namespace=PLACE)
    assert "forbidden" not in log
    metrics = await cluster.metrics(pod["metadata"]["name"], namespace=PLACE)
    assert metrics.total("ashchat_operator_api_requests_total", code="403") == 0
    assert metrics.total("ashchat_operator_reconcile_total", result="error") == 0
    # The first one does not know it.
    (first,) = await cluster.list("pods", namespace=cluster.operator_namespace)
    there = await cluster.metrics(first["metadata"]["name"], namespace=cluster.operator_namespace)
    assert not [
        x for x in there.labels("ashchat_operator_resource_condition") if x["namespace"] == PLACE
    ]


async def test_an_uninstall_leaves_nothing_that_only_it_could_end(
    cluster: Cluster,
    helm: Helm,
    second: None,  # noqa: ARG001
) -> None:
    # Off, so that the finalizer is as somebody left it.
    await cluster.patch("deployments", RELEASE, {"spec": {"replicas": 0}}, namespace=PLACE)

    async def ended() -> bool:
        labels = {Label.COMPONENT.value: "operator"}
        return not await cluster.list("pods", labels, namespace=PLACE)

    await until(ended, within=WITHIN_S, what="the second operator gone: it takes finalizers off")
    finalizers = {"metadata": {"finalizers": [FINALIZER]}}
    await cluster.patch("ashchats", NAME, finalizers, namespace=PLACE)
    with pytest.raises(CommandFailedError):
        await helm("uninstall", RELEASE, "--timeout=60s")
    (pod,) = await cluster.list("pods", {Label.COMPONENT.value: "uninstall"}, namespace=PLACE)
    says = await cluster.logs(pod["metadata"]["name"], namespace=PLACE)
    assert f"{PLACE}/{NAME}" in says
    assert "deletionPolicy" in says
    await cluster.patch("ashchats", NAME, {"metadata": {"finalizers": None}}, namespace=PLACE)
    await helm("uninstall", RELEASE, "--timeout=60s")
    with suppress(ApiError):
        await cluster.delete("ashchats", NAME, namespace=PLACE)
    assert await cluster.find("deployments", RELEASE, namespace=PLACE) is None
