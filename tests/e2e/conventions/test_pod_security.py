"""Every pod is admitted by the restricted Pod Security Standard."""

import secrets
from typing import Any

import pytest

from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster

pytestmark = pytest.mark.smoke

ENFORCE = "pod-security.kubernetes.io/enforce"


def copy_of(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a pod to create: a running pod's spec without the fields that the cluster added."""
    spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"again-{secrets.token_hex(4)}"},
        "spec": spec,
    }


async def test_the_namespace_enforces_the_restricted_standard(cluster: Cluster) -> None:
    namespace = await cluster.read("namespaces", cluster.namespace)
    assert namespace["metadata"]["labels"].get(ENFORCE) == "restricted"


@pytest.mark.parametrize("whose", ["namespace", "operator_namespace"])
async def test_every_pod_would_be_admitted_again(cluster: Cluster, whose: str) -> None:
    namespace = getattr(cluster, whose)
    pods = await cluster.list("pods", namespace=namespace)
    assert pods, f"no pod in {namespace}"
    # Admission treats a dry run like any other request; the namespace enforces the standard.
    for pod in pods:
        await cluster.request(
            "POST",
            f"/api/v1/namespaces/{cluster.namespace}/pods",
            json=without_account(copy_of(pod)),
            dryRun="All",
        )


async def test_a_privileged_pod_is_rejected(cluster: Cluster) -> None:
    pod = without_account(copy_of((await cluster.list("pods", cluster.labels("chat")))[0]))
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(ApiError, match="violates PodSecurity") as error:
        await cluster.request(
            "POST",
            f"/api/v1/namespaces/{cluster.namespace}/pods",
            json=pod,
            dryRun="All",
        )
    assert error.value.status == 403


async def test_every_container_has_a_read_only_root_and_no_token(cluster: Cluster) -> None:
    for pod in await cluster.list("pods", cluster.labels()):
        name, spec = pod["metadata"]["name"], pod["spec"]
        assert spec.get("automountServiceAccountToken") is False, (
            f"{name} mounts its service account token"
        )
        mounted = [
            source
            for volume in spec.get("volumes", [])
            for source in volume.get("projected", {}).get("sources", [])
            if "serviceAccountToken" in source
        ]
        assert not mounted, f"{name} has a token among its volumes"
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            context = container.get("securityContext", {})
            where = f"{name}/{container['name']}"
            assert context.get("readOnlyRootFilesystem") is True, f"{where} may write its root"
            assert context.get("capabilities", {}).get("drop") == ["ALL"], where


def without_account(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a pod without its service account, which does not exist in the other namespace."""
    drop = {"serviceAccount", "serviceAccountName"}
    spec = {key: value for key, value in pod["spec"].items() if key not in drop}
    return {**pod, "spec": {**spec, "automountServiceAccountToken": False}}
