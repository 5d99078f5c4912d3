"""An AshChat for each worker of pytest-xdist, so that tests run concurrently.

The first worker uses the AshChat that `make up` applied, and the cluster's operator. Every other
gets a copy of it, with a mailbox and an operator, in separate namespaces: whatever a test does to
them does not affect the tests of other workers.
"""

import copy
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from ashchat_core.api.names import API_VERSION, KIND
from ashchat_core.topology import Service
from ashchat_dev import suite_namespaces
from ashchat_dev.environment import Environment
from ashchat_dev.install import OPERATOR_NAMESPACE
from ashchat_dev.kube.api import ApiError, path_of
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.target import EDGE_PORT
from ashchat_dev.waiting import until
from ashchat_e2e.outages import mail_namespace
from ashchat_e2e.scoped_operator import operator_for
from ashchat_e2e.temporary_namespace import vanish

Object = dict[str, Any]

MAILPIT: Final = "mailpit"
READY_WITHIN_SECONDS: Final = 300.0
_SMALL: Final = {"resources": {"requests": {"cpu": "1m"}}}


def number() -> int:
    """Return this worker's number; 0 for the first one and without pytest-xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def environment(first: Environment, worker: int) -> Environment:
    """Return the environment of a worker's AshChat."""
    if worker == 0:
        return first
    host, offset = urlsplit(first.url).hostname, port_offset(first)
    return replace(
        first,
        url=f"http://{host}:{suite_namespaces.EDGE_PORTS + worker + offset}",
        mailbox_url=f"http://{host}:{suite_namespaces.MAILBOX_PORTS + worker + offset}",
        namespace=suite_namespaces.of_worker(worker),
    )


def port_offset(first: Environment) -> int:
    """Return the difference between a port of this machine and the node port it leads to."""
    return (urlsplit(first.url).port or EDGE_PORT) - EDGE_PORT


def operator_namespace(worker: int) -> str:
    """Return the namespace of the operator that reconciles a worker's AshChat."""
    return OPERATOR_NAMESPACE if worker == 0 else f"{OPERATOR_NAMESPACE}-worker-{worker}"


@asynccontextmanager
async def ashchat(
    first: Environment, worker: int, original: Object | None
) -> AsyncIterator[Environment]:
    """Provide a worker's AshChat, Ready; its namespaces are deleted at the end.

    Args:
        first: Where the AshChat is that `make up` created.
        worker: The worker's number.
        original: The first AshChat's resource before any test changed it; by default, as it is.

    Raises:
        AssertionError: It did not become Ready.
    """
    own = environment(first, worker)
    if own == first:
        await _remove_unused(first)
        yield own
        return
    system = replace(own, namespace=operator_namespace(worker))
    mail = replace(own, namespace=f"{MAILPIT}-worker-{worker}")
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(client(first, 0))
        clone, mailpit, operator = [
            await stack.enter_async_context(client(each, worker)) for each in (own, mail, system)
        ]
        for each in (operator, mailpit, clone):
            await stack.enter_async_context(_namespace(source, each))
        await stack.enter_async_context(
            operator_for(source, operator.namespace, suite_namespaces.reconciled_for(worker))
        )
        await _mailbox(source, mailpit, suite_namespaces.MAILBOX_PORTS + worker)
        port = suite_namespaces.EDGE_PORTS + worker
        resource = original or await source.resource()
        await clone.create("ashchats", _resource(resource, own, port, mailpit.namespace))
        await clone.wait_ready(within=READY_WITHIN_SECONDS)
        yield own


async def _remove_unused(first: Environment) -> None:
    """Delete namespaces that an interrupted run left for workers that this run does not have."""
    running = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for worker in range(max(1, running), suite_namespaces.WORKERS_MAX):
        names = (
            operator_namespace(worker),
            *suite_namespaces.reconciled_for(worker),
            f"{MAILPIT}-worker-{worker}",
        )
        for name in names:
            async with client(replace(first, namespace=name), worker) as own:
                await vanish(own)


def client(where: Environment, worker: int) -> Cluster:
    """Return a client of the cluster for a worker's tests."""
    assert where.kubeconfig is not None
    return Cluster(
        where.kubeconfig,
        kubectl=where.kubectl,
        namespace=where.namespace,
        operator_namespace=operator_namespace(worker),
    )


@asynccontextmanager
async def _namespace(source: Cluster, own: Cluster) -> AsyncIterator[None]:
    """Create a namespace with the labels of the first AshChat's; delete it at the end.

    A namespace left by an earlier run is deleted first.
    """
    await vanish(own)
    labels = (await source.read("namespaces", source.namespace))["metadata"]["labels"]
    kept = {key: value for key, value in labels.items() if not key.endswith("/metadata.name")}
    body = {"metadata": {"name": own.namespace, "labels": kept}}
    await own.request("POST", path_of("namespaces"), json=body)

    async def admits_pods() -> bool:
        return await own.find("serviceaccounts", "default") is not None

    await until(admits_pods, what="the namespace's service account", ignoring=(ApiError,))
    try:
        yield
    finally:
        await own.delete("namespaces", own.namespace)


async def _mailbox(source: Cluster, own: Cluster, port: int) -> None:
    former = await mail_namespace(source)
    deployment = await source.read("deployments", MAILPIT, namespace=former)
    service = await source.read("services", MAILPIT, namespace=former)
    ports = [
        {key: value for key, value in each.items() if key != "nodePort"}
        | ({"nodePort": port} if each["name"] == "http" else {})
        for each in service["spec"]["ports"]
    ]
    selector = service["spec"]["selector"]
    await own.create(
        "deployments",
        {
            "metadata": {"name": MAILPIT, "labels": selector},
            "spec": {
                key: deployment["spec"][key]
                for key in ("replicas", "strategy", "selector", "template")
            },
        },
    )
    await own.create(
        "services",
        {
            "metadata": {"name": MAILPIT},
            "spec": {"type": "NodePort", "selector": selector, "ports": ports},
        },
    )


def _resource(first: Object, own: Environment, node_port: int, mail_namespace: str) -> Object:
    """Return a copy of the first AshChat at a worker's addresses, with small resource requests."""
    spec: Object = copy.deepcopy(first["spec"])
    spec["publicUrl"] = own.url
    spec["exposure"]["edge"]["nodePort"] = node_port
    spec["email"]["smtp"]["host"] = f"{MAILPIT}.{mail_namespace}.svc"
    request_little(spec)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": first["metadata"]["name"]},
        "spec": spec,
    }


def request_little(spec: Object) -> None:
    """Let every component of an AshChat request little CPU: a node of two cores runs several."""
    for component in Service:
        spec[component] = {**spec.get(component, {}), **_SMALL}
    for block, part in (
        ("exposure", "edge"),
        ("translate", "apertium"),
        ("translate", "cache"),
        ("rabbitmq", "managed"),
        ("redis", "managed"),
        ("mongodb", "managed"),
    ):
        within = spec.setdefault(block, {})
        within[part] = {**within.get(part, {}), **_SMALL}
