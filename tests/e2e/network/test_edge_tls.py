"""HTTPS at the edge: a renewed certificate is served while sockets stay open."""

import asyncio
import base64
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from cryptography import x509

from ashchat_core.api.conditions import ConditionType
from ashchat_dev import environment
from ashchat_dev.certificates import certificate
from ashchat_dev.client import Person
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.phoenix import Channel, PhoenixSocket, SocketRefusedError
from ashchat_dev.suite_namespaces import HTTPS_PORT
from ashchat_dev.waiting import until
from ashchat_e2e import worker
from ashchat_e2e.people import PersonFactory

Object = dict[str, Any]
Measure = Callable[[str, float], None]

HOST = "127.0.0.1"
SECRET = "test-edge-tls"
LIE = "198.51.100.66"
RELOADED_S = 100.0
"""The kubelet rereads a Secret once a minute; changing the pod makes it reread at once."""


def mapped(node_port: int) -> int:
    """Return the port of this machine that leads to a node port."""
    return node_port + worker.port_offset(environment.load())


def site() -> str:
    return f"{HOST}:{mapped(HTTPS_PORT)}"


def body(data: Mapping[str, bytes]) -> Object:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
        "type": "kubernetes.io/tls", "data": encoded,
    }  # fmt: skip


def served() -> bytes:
    """Return the certificate that a new handshake presents (PEM)."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((HOST, mapped(HTTPS_PORT)), timeout=5) as connection,
        anyone.wrap_socket(connection) as encrypted,
    ):
        found = encrypted.getpeercert(binary_form=True)
    assert found is not None
    return ssl.DER_cert_to_PEM_cert(found).encode()


def trusting(pem: bytes) -> ssl.SSLContext:
    trust = ssl.create_default_context(cadata=pem.decode())
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT  # self-signed
    return trust


def ends(data: Mapping[str, bytes]) -> float:
    return x509.load_pem_x509_certificate(data["tls.crt"]).not_valid_after_utc.timestamp()


async def serves(wanted: bytes) -> bool:
    found = await asyncio.to_thread(served)
    return x509.load_pem_x509_certificate(found) == x509.load_pem_x509_certificate(wanted)


async def nudge(cluster: Cluster) -> None:
    """Make the kubelet reread what the edge mounts."""
    note = {"metadata": {"annotations": {"ashchat.example/nudge": secrets.token_hex(4)}}}
    for pod in await cluster.pods("edge"):
        await cluster.patch("pods", pod, note)


async def reloaded(cluster: Cluster, probe: Callable[[], Any], what: str) -> float:
    """Wait until the edge applies the change; return how long it took."""
    began = time.monotonic()

    async def nudged() -> bool:
        await nudge(cluster)
        return bool(await probe())

    await until(nudged, within=RELOADED_S, every=1, what=what, ignoring=(OSError, ApiError))
    return time.monotonic() - began


async def certificate_condition(cluster: Cluster) -> tuple[str, str]:
    found = {
        item["type"]: item for item in (await cluster.resource())["status"].get("conditions", [])
    }
    about = found.get(ConditionType.CERTIFICATE_READY, {})
    return about.get("status", ""), about.get("reason", "")


@asynccontextmanager
async def https(cluster: Cluster, data: Mapping[str, bytes]) -> AsyncIterator[None]:
    """Serve HTTPS with a certificate."""
    await cluster.delete("secrets", SECRET)
    await cluster.create("secrets", body(data))
    wanted = {
        "publicUrl": f"https://{site()}",
        "exposure": {
            "edge": {"httpsNodePort": HTTPS_PORT, "tls": {"certificateSecretRef": {"name": SECRET}}}
        },
    }
    try:
        async with cluster.spec(wanted):
            await until(
                lambda: serves(data["tls.crt"]), within=30, what="HTTPS", ignoring=(OSError,)
            )
            yield
    finally:
        await cluster.delete("secrets", SECRET)


async def open_chat(who: Person, trust: ssl.SSLContext, chat_id: str, **more: Any) -> Channel:
    connection = PhoenixSocket(
        f"wss://{site()}/chat/socket/websocket",
        {"token": who.token, "device_unique_id": who.device_token, "preferred_language": "es"},
        trust=trust,
        **more,
    )
    await connection.connect()
    return await connection.join(f"chat:{chat_id}", {"protocol": 2})


async def still_talks(channel: Channel) -> None:
    ref = secrets.token_hex(8)
    assert not channel.socket.closed.done(), channel.socket.closed
    reply = await channel.push("send_message", {"content": "hola", "mobile_ref_id": ref})
    assert reply.status == "ok", reply


async def expiry(cluster: Cluster) -> float:
    (pod,) = await cluster.list("pods", namespace=cluster.operator_namespace)
    metrics = await cluster.metrics(pod["metadata"]["name"], namespace=cluster.operator_namespace)
    return metrics.value(
        "ashchat_operator_certificate_expiry_timestamp_seconds",
        namespace=cluster.namespace,
        name=cluster.name,
    )


async def test_a_renewed_certificate_and_another_configuration_cut_no_socket(
    cluster: Cluster, person: PersonFactory, measure: Measure
) -> None:
    ana, ben = await person(), await person("Ben", "en")
    machine = await address(ben)
    chat_id = await ana.open_chat(await ben.tag())
    first, second = certificate(HOST, days=30), certificate(HOST, days=10)
    async with https(cluster, first):
        await comes_by_https(cluster, first["tls.crt"])
        assert (await cluster.resource())["status"]["url"] == f"https://{site()}"
        assert await certificate_condition(cluster) == ("True", "Served")
        assert await expiry(cluster) == ends(first)

        with pytest.raises(SocketRefusedError) as refused:
            await open_chat(ana, trusting(first["tls.crt"]), chat_id, origin="https://evil.example")
        assert refused.value.status == httpx2.codes.FORBIDDEN
        channel = await open_chat(
            ana, trusting(first["tls.crt"]), chat_id, origin=f"https://{site()}"
        )
        await still_talks(channel)

        # Another certificate's key: the previous pair stays in use, and the condition reports it.
        await give(cluster, {**second, "tls.key": first["tls.key"]})
        await says(cluster, ("False", "CertificateKeyMismatch"))
        assert not await cluster.unready()
        assert await serves(first["tls.crt"])

        await give(cluster, second)
        await says(cluster, ("True", "ExpiresSoon"))
        took = await reloaded(cluster, lambda: serves(second["tls.crt"]), "the renewed certificate")
        measure("renewed certificate served", took)
        assert await expiry(cluster) == ends(second)
        await still_talks(channel)

        # Another configuration: this machine is a trusted proxy.
        ours = {"exposure": {"trustedProxies": [f"{machine}/32"]}}
        async with cluster.spec(ours):
            trust = trusting(second["tls.crt"])
            took = await reloaded(cluster, lambda: believed(ben, trust), "the proxy trusted")
            measure("changed configuration in use", took)
            await still_talks(channel)
        await channel.socket.close()


async def comes_by_https(cluster: Cluster, pem: bytes) -> None:
    edge = (await cluster.resource())["spec"]["exposure"]["edge"]
    async with httpx2.AsyncClient(
        base_url=f"https://{site()}", verify=trusting(pem), trust_env=False
    ) as client:
        page = await client.get("/")
        assert page.status_code == httpx2.codes.OK
        assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
        plain = await client.get(f"http://{HOST}:{mapped(edge['nodePort'])}/files/x?y=z")
        assert plain.status_code == httpx2.codes.PERMANENT_REDIRECT
        assert plain.headers["Location"] == f"https://{site()}/files/x?y=z"


async def give(cluster: Cluster, data: Mapping[str, bytes]) -> None:
    await cluster.patch("secrets", SECRET, {"data": body(data)["data"]})


async def says(cluster: Cluster, wanted: tuple[str, str]) -> None:
    """Wait until the condition reports it: the operator checks on every resync."""

    async def said() -> bool:
        return await certificate_condition(cluster) == wanted

    await until(said, within=40, what=f"CertificateReady {wanted}")


async def address(who: Person) -> str:
    """Return the address of this machine's requests, as the edge sees it."""
    reply = await who.auth.request("GET", "/security-events", headers=who.headers)
    found: str = reply.data["events"][0]["address"]
    return found


async def believed(who: Person, trust: ssl.SSLContext) -> bool:
    """Return whether the edge trusts what a proxy reports as the client's address."""
    async with httpx2.AsyncClient(
        base_url=f"https://{site()}/auth/api/user", verify=trust, trust_env=False
    ) as client:
        signed_in = await client.post(
            "/signin",
            json={
                "email": who.email, "password": who.password, "deviceTokenId": who.device_token,
            },
            headers={"X-Forwarded-For": f"203.0.113.1, {LIE}"},
        )  # fmt: skip
        assert signed_in.status_code == httpx2.codes.OK, signed_in.text
        headers = {**who.headers, "Authorization": f"Bearer {signed_in.json()['data']['token']}"}
        events = (await client.get("/security-events", headers=headers)).json()["data"]["events"]
    return any(event["address"] == LIE for event in events)
