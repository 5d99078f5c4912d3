"""A conversation translated through Google's API, with Google's own client library.

The server is tests/google: it validates every request as Google does and translates with
Apertium. It runs in a separate pod; only the AshChat resource is changed.
"""

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest_asyncio

from ashchat_dev import environment
from ashchat_dev.conversation import Participant
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.new_sentences import CAT, DOG, HOUSE, TABLE, new_word
from ashchat_e2e.people import PersonFactory

NAME = "test-google"
KEYS = Path(__file__).parents[2] / "google/src/ashchat_test_google/keys.py"
IMAGE = "ASHCHAT_TEST_GOOGLE_IMAGE"


def image() -> str:
    """Return the reference of the image built from tests/google/Containerfile."""
    file = environment.find_env_file(Path.cwd())
    found = os.environ.get(IMAGE) or (environment.read_env_file(file) if file else {}).get(IMAGE)
    assert found, f"{IMAGE} is not set: `make up` builds the image and writes it to .ashchat/env"
    return found


def pod(cluster: Cluster) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "google",
                    "image": image(),
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["/keys", f"http://{cluster.name}-apertium:2737"],
                    "ports": [{"containerPort": 8443}, {"containerPort": 9000}],
                    "readinessProbe": {
                        "httpGet": {"path": "/metrics", "port": 9000},
                        "periodSeconds": 1,
                    },
                    "resources": {
                        "requests": {"cpu": "20m", "memory": "64Mi"},
                        "limits": {"memory": "256Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": True}],
                }
            ],
            "volumes": [{"name": "keys", "secret": {"secretName": f"{NAME}-server"}}],
        },
    }


def secret(folder: Path, name: str) -> dict[str, object]:
    data = {file.name: base64.b64encode(file.read_bytes()).decode() for file in folder.iterdir()}
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data,
    }  # fmt: skip


def way_in(cluster: Cluster) -> dict[str, object]:
    """Return a NetworkPolicy that lets the test server reach Apertium."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "podSelector": {"matchLabels": cluster.labels("apertium")},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": NAME}}}]}],
        },
    }


async def remove(cluster: Cluster) -> None:
    for kind, name in (
        ("pods", NAME), ("services", NAME), ("networkpolicies", NAME),
        ("secrets", f"{NAME}-server"), ("secrets", f"{NAME}-client"),
    ):  # fmt: skip
        with suppress(ApiError):
            await cluster.delete(kind, name, now=kind == "pods")


@pytest_asyncio.fixture(loop_scope="session")
async def google(cluster: Cluster, tmp_path: Path) -> AsyncIterator[str]:
    """Run the server and return its host and port."""
    host = f"{NAME}.{cluster.namespace}.svc"
    made = await asyncio.create_subprocess_exec(sys.executable, str(KEYS), str(tmp_path), host)
    assert await made.wait() == 0
    await remove(cluster)
    for part in ("server", "client"):
        await cluster.create("secrets", secret(tmp_path / part, f"{NAME}-{part}"))
    await cluster.create(
        "services",
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": {"app": NAME}, "ports": [{"name": "grpc", "port": 8443}]},
        },
    )
    await cluster.create("networkpolicies", way_in(cluster))
    await cluster.create("pods", pod(cluster))
    try:
        await until(
            lambda: ready(cluster), within=60, what="the test server ready", ignoring=(ApiError,)
        )
        yield f"{host}:8443"
    finally:
        await remove(cluster)


async def ready(cluster: Cluster) -> bool:
    status = (await cluster.read("pods", NAME)).get("status", {})
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in status.get("conditions", [])
    )


async def gone(cluster: Cluster) -> bool:
    return await cluster.find("pods", NAME) is None


async def answered(cluster: Cluster, code: str = "OK") -> float:
    return (await cluster.metrics(NAME)).value("google_calls_total", code=code)


async def provider_of(listener: Participant, speaker: Participant, text: str) -> tuple[str, str]:
    """Send a message; return its translation as received, and its provider, or why it has none."""
    said = await speaker.say(text)
    heard = await listener.hear(said)
    events = [event for event in listener.channel.named("event") if event["kind"] == "translation"]
    return heard.text, str(events[-1]["provider"] or events[-1]["reason"])


async def test_a_conversation_through_google_in_both_directions(
    cluster: Cluster, person: PersonFactory, google: str
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    one, other = await asyncio.gather(
        Participant.join(ana, chat_id), Participant.join(ben, chat_id)
    )
    before = await answered(cluster)
    # A new word each time, so that the cache cannot answer instead of Google.
    rare = new_word()
    google_spec = {
        "project": "ashchat-test",
        "location": "global",
        "endpoint": google,
        "caSecretRef": {"name": f"{NAME}-client"},
        "credentialsSecretRef": {"name": f"{NAME}-client"},
    }
    async with cluster.spec({"translate": {"provider": "Google", "google": google_spec}}):
        await cluster.wait_former_gone("translate")
        text, provider = await provider_of(
            other, one, f"Hola @ben: {HOUSE.format(rare)} A las 10:30"
        )
        assert provider == "google"
        assert "house" in text
        assert "@ben" in text
        assert "10:30" in text
        text, provider = await provider_of(one, other, DOG.format(rare))
        assert (provider, "perro" in text) == ("google", True)
        # One call per message: the cache and request coalescing serve all other readers.
        assert await answered(cluster) == before + 2
        for code in ("INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED"):
            assert await answered(cluster, code) == 0

        # Without Google, Apertium is next in the chain, and the reader is shown the provider.
        await cluster.delete("pods", NAME)
        await until(lambda: gone(cluster), within=60, what="the test server stopped")
        text, provider = await provider_of(other, one, CAT.format(rare))
        assert (provider, "cat" in text.lower()) == ("apertium", True)

    await cluster.wait_former_gone("translate")
    text, provider = await provider_of(other, one, TABLE.format(rare))
    assert (provider, "table" in text.lower()) == ("apertium", True)
