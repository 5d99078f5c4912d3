"""The API server itself rejects an invalid resource with a comprehensible message."""

import copy
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ashchat_core.api.names import API_VERSION
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster

Object = dict[str, Any]

LEAST: Object = {"email": {"smtp": {"host": "mail.example.org", "from": "a@example.org"}}}
GOOGLE: Object = {"project": "p", "credentialsSecretRef": {"name": "key"}}
THEIRS: Object = {"connectionSecretRef": {"name": "x"}}
INVALID = 422


def smtp(**changes: Any) -> Object:
    """Return a spec with another mail server."""
    return {"email": {"smtp": {**LEAST["email"]["smtp"], **changes}}}


REFUSED: dict[str, tuple[Object, str]] = {
    "no mail server": ({"email": {}}, "spec.email.smtp: Required"),
    "an invalid e-mail address": (smtp(**{"from": "me"}), "from must be an e-mail address"),
    "credentials over an unencrypted connection": (
        smtp(security="None", credentialsSecretRef={"name": "x"}),
        "credentialsSecretRef requires an encrypted connection",
    ),
    "a mail CA without encryption": (
        smtp(security="None", caSecretRef={"name": "x"}),
        "caSecretRef requires an encrypted connection",
    ),
    "an unknown encryption": (smtp(security="SSL"), 'supported values: "None", "StartTLS", "TLS"'),
    "a port out of range": (smtp(port=70000), "less than or equal to 65535"),
    "google without its settings": (
        {"translate": {"provider": "Google"}},
        "provider Google requires translate.google",
    ),
    "an endpoint without a port": (
        {"translate": {"provider": "Google", "google": {**GOOGLE, "endpoint": "host"}}},
        "endpoint must be host:port",
    ),
    "a node port on a ClusterIP service": (
        {"exposure": {"edge": {"serviceType": "ClusterIP", "nodePort": 30099}}},
        "nodePort requires serviceType NodePort",
    ),
    "a node port for HTTPS without TLS": (
        {"exposure": {"edge": {"httpsNodePort": 30099}}},
        "httpsNodePort requires serviceType NodePort and tls",
    ),
    "an Ingress without settings": (
        {"exposure": {"type": "Ingress"}},
        "exposure.ingress and type Ingress require each other",
    ),
    "Ingress settings with type Edge": (
        {"exposure": {"ingress": {"hosts": ["chat.example.org"]}}},
        "exposure.ingress and type Ingress require each other",
    ),
    "an Ingress without hosts": (
        {"exposure": {"type": "Ingress", "ingress": {"hosts": []}}},
        "should have at least 1 items",
    ),
    "a host that is a URL": (
        {"exposure": {"type": "Ingress", "ingress": {"hosts": ["https://chat.example.org"]}}},
        "should match",
    ),
    "a route without a Gateway": (
        {"exposure": {"type": "Gateway"}},
        "exposure.gateway and type Gateway require each other",
    ),
    "edge TLS without the edge": (
        {"exposure": {"type": "None", "edge": {"tls": {"certificateSecretRef": {"name": "x"}}}}},
        "exposure.edge.tls requires type Edge",
    ),
    "a public HTTP URL with edge TLS": (
        {
            "publicUrl": "http://chat.example.org",
            "exposure": {"edge": {"tls": {"certificateSecretRef": {"name": "x"}}}},
        },
        "publicUrl must start with https://",
    ),
    "a trusted proxy that is not a network": (
        {"exposure": {"trustedProxies": ["192.0.2.1"]}},
        "a trusted proxy must be a network in CIDR notation",
    ),
    "too little storage for an account": (
        {"static": {"storagePerAccount": "500m"}},
        "storagePerAccount must be a quantity of at least 1Mi",
    ),
    "an origin with a path": (
        {"exposure": {"allowedOrigins": ["https://app.example.org/x"]}},
        "should match",
    ),
    "an origin without a host": (
        {"exposure": {"allowedOrigins": ["https://"]}},
        "an allowed origin must have a host",
    ),
    "an origin with an invalid port": (
        {"exposure": {"allowedOrigins": ["https://app.example.org:65536"]}},
        "should match",
    ),
    "an invalid prefix": (
        {"rabbitmq": {"external": {**THEIRS, "prefix": "1st"}}},
        "prefix must consist of lower case letters",
    ),
    "a CA without TLS": (
        {
            "redis": {
                "external": {**THEIRS, "tls": {"enabled": False, "caSecretRef": {"name": "x"}}}
            }
        },
        "caSecretRef requires an encrypted connection",
    ),
    "a rotation interval that is too short": (
        {"rotation": {"interval": "30m"}},
        "interval must be a duration of at least 1h",
    ),
    "an invalid window start": (
        {"rotation": {"interval": "720h", "windows": [{"start": "24:00", "duration": "2h"}]}},
        "start must be a time of day",
    ),
    "a window that is too short": (
        {"rotation": {"interval": "720h", "windows": [{"start": "03:00", "duration": "5m"}]}},
        "duration must be between 10m and 24h",
    ),
    "windows without an interval": (
        {"rotation": {"windows": [{"start": "03:00", "duration": "2h"}]}},
        "windows require interval",
    ),
    "an unknown value for NetworkPolicies": (
        {"networkPolicy": {"mode": "Maybe"}},
        'supported values: "Enabled", "Disabled"',
    ),
    "two pods on one volume": (
        {"static": {"replicas": 2}},
        "replicas above 1 requires storage.accessMode ReadWriteMany",
    ),
    "an autoscaler on one volume": (
        {"static": {"autoscaling": {"maxReplicas": 2}}},
        "autoscaling above 1 pod requires storage.accessMode ReadWriteMany",
    ),
    "an autoscaler with minimum above maximum": (
        {"chat": {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}},
        "minReplicas must not exceed maxReplicas",
    ),
    "negative replicas": ({"chat": {"replicas": -1}}, "greater than or equal to 0"),
    "a size that is not a quantity": (
        {"static": {"storage": {"size": "large"}}},
        "the value must be a quantity above zero",
    ),
    "a cache of zero size": ({"translate": {"cache": {"maxMemory": "0"}}}, "above zero"),
    "an unknown deletion policy": (
        {"deletionPolicy": "Orphan"},
        'supported values: "Retain", "Delete"',
    ),
    "a URL without a scheme": ({"publicUrl": "chat.example.org"}, "publicUrl must be a URL"),
    "a URL of another scheme": ({"publicUrl": "ftp://chat.example.org"}, "http or https"),
    "a URL with a path": (
        {"publicUrl": "https://chat.example.org/x"},
        "publicUrl must end after host and port",
    ),
    "a request that is not a quantity": (
        {"chat": {"resources": {"limits": {"memory": "much"}}}},
        "should match",
    ),
}


def named(cluster: Cluster, spec: Object, name: str | None = None) -> Object:
    """Return a resource; it is used in dry runs only, so none of its references need exist."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AshChat",
        "metadata": {
            "name": name or f"try-{secrets.token_hex(4)}",
            "namespace": cluster.namespace,
        },
        "spec": {**LEAST, **spec},
    }


async def attempt(cluster: Cluster, body: Object) -> Object:
    """Create a resource in a dry run, which makes every check."""
    path = f"/apis/ashchat.dev/v1alpha1/namespaces/{cluster.namespace}/ashchats"
    became: Object = await cluster.request(
        "POST", path, json=body, dryRun="All", fieldValidation="Strict"
    )
    return became


@pytest.mark.parametrize("what", REFUSED)
async def test_an_invalid_resource_is_rejected_with_a_reason(cluster: Cluster, what: str) -> None:
    spec, says = REFUSED[what]
    with pytest.raises(ApiError) as refused:
        await attempt(cluster, named(cluster, spec))
    assert refused.value.status == INVALID
    assert says in refused.value.message


@pytest.mark.parametrize("name", ["a" * 41, "with.dot", "1st"])
async def test_a_name_that_is_invalid_for_children_is_rejected(cluster: Cluster, name: str) -> None:
    with pytest.raises(ApiError) as refused:
        await attempt(cluster, named(cluster, {}, name))
    assert refused.value.status == INVALID
    assert "the name must" in refused.value.message


async def test_a_misspelled_field_is_rejected(cluster: Cluster) -> None:
    with pytest.raises(ApiError) as refused:
        await attempt(cluster, named(cluster, {"chat": {"replicsa": 2}}))
    assert 'unknown field "spec.chat.replicsa"' in refused.value.message


async def test_a_minimal_resource_is_accepted_and_gets_defaults(cluster: Cluster) -> None:
    spec = (await attempt(cluster, named(cluster, {})))["spec"]
    assert spec["exposure"] == {
        "type": "Edge",
        "edge": {"serviceType": "NodePort", "replicas": 1},
        "trustedProxies": [],
        "allowedOrigins": [],
    }
    assert spec["mongodb"]["managed"] == {"engine": "MongoDB", "storage": {"size": "4Gi"}}
    assert spec["email"]["smtp"]["security"] == "StartTLS"


@pytest_asyncio.fixture(loop_scope="session")
async def demo(cluster: Cluster) -> AsyncIterator[Object]:
    """The running resource, changed in dry runs only."""
    before = await cluster.resource()
    yield before
    assert (await cluster.resource())["spec"] == before["spec"]


CHANGES: dict[str, tuple[Object, str]] = {
    "another engine": (
        {"mongodb": {"managed": {"engine": "other"}}},
        "the engine cannot be changed",
    ),
    "a smaller volume": (
        {"rabbitmq": {"managed": {"storage": {"size": "1Mi"}}}},
        "a volume cannot shrink",
    ),
    "another access mode": (
        {"static": {"storage": {"accessMode": "ReadWriteMany"}}},
        "the access mode of an existing volume cannot be changed",
    ),
    "another storage class": (
        {"redis": {"managed": {"storage": {"storageClassName": "other"}}}},
        "the storage class of an existing volume cannot be changed",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_of_an_immutable_field_is_rejected(
    cluster: Cluster, demo: Object, what: str
) -> None:
    spec, says = copy.deepcopy(CHANGES[what])
    if what == "another engine":
        engine = demo["spec"]["mongodb"]["managed"]["engine"]
        spec["mongodb"]["managed"]["engine"] = "MongoDB" if engine == "FerretDB" else "FerretDB"
    path = f"/apis/ashchat.dev/v1alpha1/namespaces/{cluster.namespace}/ashchats/{cluster.name}"
    with pytest.raises(ApiError) as refused:
        await cluster.request(
            "PATCH",
            path,
            dryRun="All",
            json={"spec": spec},
            content_type="application/merge-patch+json",
        )
    assert refused.value.status == INVALID
    assert says in refused.value.message
