"""Additional operators in a cluster: for one namespace with Roles only, or for several."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import yaml

from ashchat_dev.install import CHART, OPERATOR_NAMESPACE
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.kube.kubectl import CommandFailedError
from ashchat_e2e.operator_pods import OPERATOR
from ashchat_node.paths import Paths


async def helm(cluster: Cluster, *arguments: str, namespace: str, stdin: str = "") -> str:
    """Run Helm in a namespace and return its output.

    Raises:
        CommandFailedError: Helm failed; the message contains its errors.
    """
    process = await asyncio.create_subprocess_exec(
        os.environ.get("HELM") or str(Paths().cache / "bin" / "helm"),
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


async def install_scoped(
    cluster: Cluster,
    namespace: str,
    release: str = OPERATOR,
    images: Mapping[str, str] | None = None,
) -> None:
    """Install an operator that reconciles one namespace, in that namespace.

    Args:
        cluster: A cluster whose own operator excludes the namespace.
        namespace: An existing namespace, which the caller deletes.
        release: The name of the release, the Deployment and the Lease.
        images: The image table; by default that of the cluster's operator.

    Raises:
        CommandFailedError: The operator did not become ready.
    """
    values = {"watchNamespaces": [namespace], **await _values(cluster, images)}
    await helm(
        cluster, "install", release, str(CHART), "--values=-", "--wait", "--timeout=90s",
        namespace=namespace, stdin=yaml.safe_dump(values),
    )  # fmt: skip


@asynccontextmanager
async def operator_for(
    cluster: Cluster, namespace: str, reconciled: Sequence[str]
) -> AsyncIterator[None]:
    """Run an operator with the cluster-wide permissions of the cluster's own for some namespaces.

    The namespaces need not exist, because tests create and delete them. The chart's Roles could not
    be used, because they require existing namespaces.

    Args:
        cluster: A cluster whose own operator excludes the namespaces.
        namespace: An existing namespace for the operator.
        reconciled: The namespaces that it reconciles.
    """
    text = await helm(
        cluster, "template", OPERATOR, str(CHART), "--values=-", "--no-hooks",
        namespace=namespace, stdin=yaml.safe_dump(await _values(cluster)),
    )  # fmt: skip
    objects = [each for each in yaml.safe_load_all(text) if each]
    for each in objects:
        if each["kind"] == "Deployment":
            _scope(each, reconciled)
    manifests = yaml.safe_dump_all(objects)
    where = f"--namespace={namespace}"
    await cluster.kubectl_run("apply", "--server-side", where, "--filename=-", stdin=manifests)
    try:
        yield
    finally:
        await cluster.kubectl_run(
            "delete", "--ignore-not-found", "--wait=false", where, "--filename=-", stdin=manifests
        )


def _scope(deployment: dict[str, Any], reconciled: Sequence[str]) -> None:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        if variable["name"] == "ASHCHAT_OPERATOR_WATCH_NAMESPACES":
            variable["value"] = ",".join(reconciled)


async def _values(cluster: Cluster, images: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the images of the cluster's own operator as values for another release."""
    text = await helm(
        cluster, "get", "values", OPERATOR, "--all", "-o=json", namespace=OPERATOR_NAMESPACE
    )
    first: dict[str, Any] = json.loads(text)
    return {
        "image": first["image"],
        "images": dict(images or first["images"]),
        "crd": {"install": False},
    }
