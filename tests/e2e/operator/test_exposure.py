"""An Ingress, an HTTPRoute, or neither, as specified, in a cluster without their controllers.

The test acts as the controllers: it writes the status that they would write. The AshChat has no
running pods, because its images do not exist.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest_asyncio
import yaml

from ashchat_core.api.names import API_VERSION
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until

Object = dict[str, Any]

NAMESPACE, NAME = "ashchat-exposure", "way"
DEFINITION = Path(__file__).parent / "gateway-api" / "httproutes.yaml"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes"
INGRESSES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses"
SOON_S = 75.0
"""API discovery is cached for 30 s, and a resource is reconciled every 20 s."""

NOWHERE = {"image": "localhost/none:1"}
IDLE = {"replicas": 0}
SPEC: Object = {
    "email": {**IDLE, "smtp": {"host": "mail.example.org", "from": "a@example.org"}},
    "auth": IDLE, "chat": IDLE, "static": IDLE,
    "translate": {**IDLE, "apertium": IDLE, "cache": NOWHERE},
    "rabbitmq": {"managed": NOWHERE}, "redis": {"managed": NOWHERE},
    "mongodb": {"managed": NOWHERE},
    "exposure": {"type": "Ingress", "ingress": {
        "className": "test", "hosts": ["chat.example.org"],
        "tls": {"certificateSecretRef": {"name": "chat-tls"}},
        "annotations": {"example.org/read-timeout": "3600"},
    }},
}  # fmt: skip


class Way:
    """An AshChat whose exposure the test changes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def expose(self, exposure: Object) -> None:
        """Replace the whole exposure."""
        body = (await self.cluster.read("ashchats", NAME, namespace=NAMESPACE))["spec"]
        gone = dict.fromkeys(body["exposure"])
        await self.cluster.patch(
            "ashchats", NAME, {"spec": {"exposure": {**gone, **exposure}}}, namespace=NAMESPACE
        )

    async def said(self) -> tuple[str, str]:
        """Return the exposure's reason and address in the status."""
        status = (await self.cluster.read("ashchats", NAME, namespace=NAMESPACE)).get("status", {})
        (entry,) = [x for x in status.get("components", []) if x["name"] == "exposure"] or [{}]
        return entry.get("reason", ""), status.get("url", "")

    async def says(self, reason: str, url: str) -> None:
        """Wait until the status reports this."""

        async def does() -> bool:
            return await self.said() == (reason, url)

        try:
            await until(does, within=SOON_S, what=f"exposure {reason} {url}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it says {await self.said()}") from error

    async def names(self, path: str) -> list[str]:
        """Return the names of the existing objects; empty if the kind is not served."""
        try:
            return [item["metadata"]["name"] for item in (await self.cluster.get(path))["items"]]
        except ApiError as error:
            if error.status != httpx2.codes.NOT_FOUND:
                raise
            return []

    async def status(self, path: str, status: Object) -> None:
        """Write a status, as a controller does."""
        await self.cluster.request(
            "PATCH",
            f"{path}/{NAME}-exposure/status",
            json={"status": status},
            content_type="application/merge-patch+json",
        )


async def gone(cluster: Cluster, path: str) -> None:
    """Delete an object and wait until it no longer exists."""
    try:
        await cluster.request("DELETE", path, json={"propagationPolicy": "Background"})
    except ApiError as error:
        if error.status != httpx2.codes.NOT_FOUND:
            raise

    async def away() -> bool:
        try:
            await cluster.get(path)
        except ApiError as error:
            return error.status == httpx2.codes.NOT_FOUND
        return False

    await until(away, within=90, what=f"{path} deleted")


@pytest_asyncio.fixture(loop_scope="session")
async def way(cluster: Cluster) -> AsyncIterator[Way]:
    """An AshChat without running pods."""
    definition = f"{DEFINITIONS}/httproutes.gateway.networking.k8s.io"
    await asyncio.gather(
        gone(cluster, f"/api/v1/namespaces/{NAMESPACE}"), gone(cluster, definition)
    )
    restricted: Mapping[str, str] = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": restricted},
    }  # fmt: skip
    await cluster.request("POST", "/api/v1/namespaces", json=namespace)
    ashchat = {
        "apiVersion": API_VERSION, "kind": "AshChat",
        "metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": SPEC,
    }  # fmt: skip
    try:
        await cluster.request(
            "POST", f"/apis/ashchat.dev/v1alpha1/namespaces/{NAMESPACE}/ashchats", json=ashchat
        )
        yield Way(cluster)
    finally:
        await gone(cluster, f"/apis/ashchat.dev/v1alpha1/namespaces/{NAMESPACE}/ashchats/{NAME}")
        await asyncio.gather(
            gone(cluster, f"/api/v1/namespaces/{NAMESPACE}"), gone(cluster, definition)
        )


async def test_each_exposure_and_the_switch_between_them(way: Way) -> None:
    # An Ingress, which a controller admits.
    await way.says("NotReported", "https://chat.example.org")
    (ingress,) = (await way.cluster.get(INGRESSES))["items"]
    assert ingress["metadata"]["annotations"] == {"example.org/read-timeout": "3600"}
    (rule,) = ingress["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/auth", "/chat", "/"]
    await way.status(INGRESSES, {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}})
    await way.says("Admitted", "https://chat.example.org")

    # A route, in a cluster that does not serve the kind.
    gateway = {"parentRefs": [{"name": "public", "namespace": "gateways"}]}
    await way.expose({"type": "Gateway", "gateway": {**gateway, "hostnames": ["chat.example.org"]}})
    await way.says("GatewayApiMissing", "")
    assert await way.names(INGRESSES) == []

    # The Gateway API is installed: no other change is needed.
    definition = yaml.safe_load(DEFINITION.read_text())
    await way.cluster.request("POST", DEFINITIONS, json=definition)
    await way.says("NotAccepted", "")
    (route,) = (await way.cluster.get(ROUTES))["items"]
    prefixes = {
        item["matches"][0]["path"]["value"]: item.get("timeouts") for item in route["spec"]["rules"]
    }
    assert prefixes == {"/auth": None, "/chat": {"request": "0s"}, "/": None}
    conditions = [
        {
            "type": kind, "status": "True", "reason": kind, "message": "",
            "observedGeneration": route["metadata"]["generation"],
            "lastTransitionTime": "2030-01-01T00:00:00Z",
        }
        for kind in ("Accepted", "ResolvedRefs")
    ]  # fmt: skip
    accepted = {
        "parentRef": {"name": "public", "namespace": "gateways"},
        "controllerName": "example.org/test", "conditions": conditions,
    }  # fmt: skip
    await way.status(ROUTES, {"parents": [accepted]})
    await way.says("Accepted", "")

    # Neither: both objects, and both statuses, are removed.
    await way.expose({"type": "None"})
    await way.says("", "")
    assert await way.names(ROUTES) == []
