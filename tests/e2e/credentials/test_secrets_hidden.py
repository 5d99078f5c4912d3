"""Secret values are readable in Secrets only."""

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pytest

from ashchat_core.topology import Service
from ashchat_dev.conversation import Participant
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.new_sentences import HOUSE, new_word
from ashchat_e2e.people import PersonFactory

pytestmark = pytest.mark.smoke

SHORTEST = 12
"""Minimum length in characters; a shorter value is a name or a port, and would occur anywhere."""


def canaries(key: str, value: bytes) -> Iterator[str]:
    """Return the confidential parts of a Secret's value: passwords, keys, whole tokens."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        yield base64.b64encode(value).decode()
        return
    text = text.strip()
    if key.endswith(".revision") or key in {"username", "active"}:
        return
    if key.endswith(".uri"):
        password = urlsplit(text).password or ""
        yield password
        yield unquote(password)
    elif "PRIVATE KEY" in text:
        yield from re.findall(r"^[A-Za-z0-9+/]{40,}$", text, re.MULTILINE)
    elif key.endswith((".conf", ".json", ".acl", ".crt")):
        # Configuration that contains secrets; these have separate entries.
        return
    else:
        yield text


async def secrets_of(cluster: Cluster) -> dict[str, str]:
    """Return every canary in the namespace, with all the places where it may occur."""
    found: dict[str, list[str]] = {}
    for secret in await cluster.list("secrets"):
        for key, encoded in (secret.get("data") or {}).items():
            for canary in canaries(key, base64.b64decode(encoded)):
                if len(canary) >= SHORTEST:
                    found.setdefault(canary, []).append(f"{secret['metadata']['name']}/{key}")
    return {canary: ", ".join(places) for canary, places in found.items()}


async def logs(cluster: Cluster, namespace: str) -> list[tuple[str, str]]:
    """Return the log of every pod in a namespace, as (where, text)."""
    texts: list[tuple[str, str]] = []
    for pod in await cluster.list("pods", namespace=namespace):
        name = pod["metadata"]["name"]
        try:
            texts.append((f"log of {name}", await cluster.logs(name, namespace=namespace)))
        except ApiError:
            continue  # deleted, or not started yet
    return texts


async def readable(cluster: Cluster) -> list[tuple[str, str]]:
    """Return every object except Secrets, and every log, as (where, text)."""
    texts: list[tuple[str, str]] = []
    for namespace in (cluster.namespace, cluster.operator_namespace):
        for kind in (
            "ashchats",
            "configmaps",
            "deployments",
            "events",
            "pods",
            "replicasets",
            "services",
            "statefulsets",
        ):
            texts += [
                (f"{kind}/{body['metadata']['name']}", json.dumps(body))
                for body in await cluster.list(kind, namespace=namespace)
            ]
        for secret in await cluster.list("secrets", namespace=namespace):
            # `kubectl describe` and many other tools show a Secret's metadata.
            name = secret["metadata"]["name"]
            texts.append((f"secrets/{name} (metadata)", json.dumps(secret["metadata"])))
        texts += await logs(cluster, namespace)
    return texts


async def test_no_generated_secret_is_seen_outside_a_secret(
    cluster: Cluster, person: PersonFactory
) -> None:
    # Cause activity that could have been logged.
    ana = await person()
    hidden = await secrets_of(cluster)
    for kind in ("rabbitmq.uri", "mongodb.uri", "redis.uri", "code.key", ".pem", "cookie"):
        assert any(kind in places for places in hidden.values()), f"no {kind} was found"
    hidden |= {
        ana.password: "a user's password",
        ana.token: "a user's token",
        ana.refresh_token: "a user's refresh token",
        ana.device_token: "a user's device token",
    }
    spoken = await readable(cluster)
    assert any("log of" in where and text for where, text in spoken)
    seen = [
        f"{owner} is in {where}"
        for canary, owner in hidden.items()
        for where, text in spoken
        if canary in text or base64.b64encode(canary.encode()).decode() in text
    ]
    assert not seen, "\n".join(seen)


async def test_the_services_log_json_and_never_message_texts(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    one, other = await asyncio.gather(
        Participant.join(ana, chat_id), Participant.join(ben, chat_id)
    )
    # Apertium leaves an unknown word unchanged: it is in the translation too.
    rare = new_word()
    heard = await other.hear(await one.say(HOUSE.format(rare)))
    assert rare in heard.text
    spoken = await logs(cluster, cluster.namespace)
    assert [where for where, text in spoken if rare in text] == []
    services = {f"log of {pod}" for name in Service for pod in await cluster.pods(name)}
    lines = [
        (where, line) for where, text in spoken if where in services for line in text.split("\n")
    ]
    assert {where for where, line in lines if line} == services
    for where, line in lines:
        if line:
            assert json.loads(line)["service"] in where, line


async def test_no_generated_secret_is_in_a_process_environment_or_command_line(
    cluster: Cluster,
) -> None:
    hidden = await secrets_of(cluster)
    script = (
        "import glob,sys\n"
        "for f in glob.glob('/proc/[0-9]*/environ')+glob.glob('/proc/[0-9]*/cmdline'):\n"
        "  sys.stdout.write(open(f,'rb').read().decode('utf-8','replace')+'\\n')\n"
    )
    for component in Service:
        for pod in await cluster.pods(component):
            text = await cluster.exec(pod, "/opt/ashchat/bin/python", "-c", script)
            assert "ashchat_" in text, f"nothing was read in {pod}"
            seen = [owner for canary, owner in hidden.items() if canary in text]
            assert not seen, f"{pod}: {seen}"
