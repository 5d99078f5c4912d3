"""An AshChat on externally managed RabbitMQ, Redis and MongoDB, connected through TLS.

One AshChat carries a conversation; another, without pods, uses the same servers. The second one
shows everything that can be wrong with a server, because the operator is what reports it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest_asyncio

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import API_VERSION, Annotation, Label
from ashchat_dev.client import Person
from ashchat_dev.conversation import Participant
from ashchat_dev.environment import Environment
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.external_servers import HELPER, Outside

Object = dict[str, Any]

TALK, IDLE, GIVEN = "talk", "idle", "given"
READY_S = 120.0


def external(secret: str, **more: Any) -> Object:
    return {
        "external": {
            "connectionSecretRef": {"name": secret},
            "tls": {"caSecretRef": {"name": "authority"}},
        }
        | more
    }


def ashchat(name: str, smtp: Object, replicas: int, suffix: str = "", **more: Any) -> Object:
    """Return an AshChat that consists of the services only."""
    pods = {"replicas": replicas, "resources": {"requests": {"cpu": "1m"}}}
    redis = external(f"redis{suffix}", **more)
    return {
        "apiVersion": API_VERSION,
        "kind": "AshChat",
        "metadata": {"name": name},
        "spec": {
            "exposure": {"type": "Edge", "edge": {"serviceType": "ClusterIP"} | pods},
            "auth": pods,
            "email": {"smtp": smtp} | pods,
            "chat": pods,
            "static": pods,
            "translate": {"apertium": {"replicas": 0}, "cache": redis} | pods,
            "rabbitmq": external(f"rabbitmq{suffix}", **more),
            "redis": redis,
            # The engine that the operator would use: there are images for it.
            "mongodb": external("mongodb", **more) | {"managed": {"engine": "FerretDB"}},
        },
    }


async def resource(outside: Outside, name: str) -> Object:
    return await outside.cluster.read("ashchats", name, namespace=outside.namespace)


def condition(found: Object, kind: str) -> Object:
    every = found.get("status", {}).get("conditions", [])
    return next((dict(one) for one in every if one["type"] == kind), {})


async def wait_ready(outside: Outside, name: str) -> Object:
    last: Object = {}

    async def ready() -> bool:
        nonlocal last
        found = await resource(outside, name)
        last = condition(found, "Ready")
        current = last.get("observedGeneration") == found["metadata"]["generation"]
        return bool(current and last["status"] == "True")

    try:
        await until(ready, within=READY_S, what=f"{name} Ready")
    except AssertionError as error:
        raise AssertionError(f"{error}: {last.get('message')}") from error
    return await resource(outside, name)


async def patch(outside: Outside, name: str, body: Object) -> None:
    await outside.cluster.patch("ashchats", name, body, namespace=outside.namespace)


async def told(outside: Outside, reasons: dict[str, str]) -> dict[str, str]:
    """Wait until the components of IDLE have these reasons; return their messages."""
    # Any change to the resource triggers a pass, so there is no need to wait for the resync.
    changed = {"metadata": {"annotations": {"test/look": secrets.token_hex(4)}}}
    await patch(outside, IDLE, changed)
    components: dict[str, Object] = {}

    async def all_told() -> bool:
        nonlocal components
        found = await resource(outside, IDLE)
        components = {one["name"]: one for one in found["status"]["components"]}
        return all(components[name]["reason"] == reason for name, reason in reasons.items())

    try:
        await until(all_told, within=40, what=f"the reasons {reasons}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {[components[name] for name in reasons]}") from error
    return {name: components[name].get("message", "") for name in reasons}


async def credentials(outside: Outside, name: str) -> list[dict[str, bytes]]:
    return [
        await outside.cluster.secret(f"{name}-{service}-credentials", namespace=outside.namespace)
        for service in ("auth", "chat", "email", "translate")
    ]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def outside(cluster: Cluster) -> AsyncIterator[Outside]:
    """Run the servers, and the AshChats that use them."""
    made = Outside(cluster, f"{cluster.namespace}-external")
    smtp = (await cluster.resource())["spec"]["email"]["smtp"]
    await made.begin()
    try:
        for server in ("rabbitmq", "redis"):
            await made.put(f"{server}-given", made.secret(server, HELPER))
        for body in (
            ashchat(TALK, smtp, 1),
            ashchat(IDLE, smtp, 0),
            ashchat(GIVEN, smtp, 0, "-given", users="Provided", prefix="given_"),
        ):
            await cluster.create("ashchats", body, namespace=made.namespace)
        await made.up()
        yield made
    finally:
        await cluster.delete("namespaces", made.namespace)

        async def gone() -> bool:
            return await cluster.find("namespaces", made.namespace) is None

        await until(gone, within=120, what=f"namespace {made.namespace} deleted")


async def test_a_conversation_on_external_servers(
    outside: Outside,
    where: Environment,
    mailbox: Mailbox,
    measure: Callable[[str, float], None],
) -> None:
    begun = asyncio.get_running_loop().time()
    found = await wait_ready(outside, TALK)
    measure("external: servers ready until Ready", asyncio.get_running_loop().time() - begun)
    assert not await outside.cluster.list("statefulsets", namespace=outside.namespace)
    assert {
        x["reason"]
        for x in found["status"]["components"]
        if x["name"] in {"rabbitmq", "redis", "cache", "mongodb"}
    } == {"External"}
    async with outside.cluster.forward(
        f"service/{TALK}-edge", 80, namespace=outside.namespace
    ) as port:
        here = replace(where, url=f"http://127.0.0.1:{port}")
        ana, ben = Person(here, "Ana", "es"), Person(here, "Ben", "es")
        try:
            await asyncio.gather(ana.register(mailbox), ben.register(mailbox))
            chat = await ana.open_chat(await ben.tag())
            speaker, listener = await asyncio.gather(
                Participant.join(ana, chat), Participant.join(ben, chat)
            )
            said = await speaker.say("Hola, ¿qué tal?")
            heard = await listener.hear(said)
            assert heard.original == "Hola, ¿qué tal?"
        finally:
            await asyncio.gather(ana.close(), ben.close())


async def test_without_pods_it_is_ready_and_has_separate_names(outside: Outside) -> None:
    await asyncio.gather(wait_ready(outside, TALK), wait_ready(outside, IDLE))
    pods = await outside.cluster.list(
        "pods", {Label.INSTANCE.value: IDLE}, namespace=outside.namespace
    )
    assert not pods
    sets = await outside.cluster.list(
        "replicasets", {Label.INSTANCE.value: IDLE}, namespace=outside.namespace
    )
    owners = [item["metadata"]["ownerReferences"][0]["name"] for item in sets]
    assert owners, "no Deployment exists"
    assert len(owners) == len(set(owners)), "rolled out twice during creation"
    talk, idle = [await credentials(outside, name) for name in (TALK, IDLE)]
    for key in ("rabbitmq.uri", "mongodb.uri", "redis.uri"):
        names = [files[0][key].decode().partition("@")[2] for files in (talk, idle)]
        assert names[0] != names[1], "the two AshChats must have separate names"
        assert f"{outside.namespace}_{IDLE}_" in names[1]


async def test_a_provided_login_is_used_by_all_services_and_reported(outside: Outside) -> None:
    found = await wait_ready(outside, GIVEN)
    topology = condition(found, ConditionType.TOPOLOGY_READY)
    assert (topology["status"], topology["reason"]) == ("True", "LeastPrivilegeNotEnforced")
    assert "provided login helper" in topology["message"]
    auth, chat, *_ = await credentials(outside, GIVEN)
    for files in (auth, chat):
        assert files["rabbitmq.uri"].startswith(b"amqps://helper:")
        assert files["mongodb.uri"].startswith(b"mongodb://boss:")


async def test_a_wrong_server_is_reported_and_the_working_one_stays_in_use(
    outside: Outside,
) -> None:
    await wait_ready(outside, IDLE)
    before = await credentials(outside, IDLE)
    another = {
        "spec": {"mongodb": {"external": {"tls": {"caSecretRef": {"name": "another-authority"}}}}}
    }
    await outside.put("wrong-redis", outside.secret("redis", password="wrong"))
    await outside.put("wrong-rabbitmq", outside.secret("rabbitmq", HELPER))
    named = {
        "rabbitmq": {"external": {"connectionSecretRef": {"name": "wrong-rabbitmq"}}},
        "redis": {"external": {"connectionSecretRef": {"name": "wrong-redis"}}},
    }
    await patch(outside, IDLE, {"spec": named | another["spec"]})
    says = await told(
        outside, {"redis": "LoginRefused", "rabbitmq": "PermissionMissing", "mongodb": "TlsFailed"}
    )
    assert "refuses the login of boss" in says["redis"]
    assert "rabbitmqctl set_user_tags helper administrator" in says["rabbitmq"]
    assert "another authority than that of tls.caSecretRef" in says["mongodb"]
    found = await resource(outside, IDLE)
    assert condition(found, ConditionType.BACKENDS_READY)["status"] == "False"
    assert condition(found, ConditionType.TOPOLOGY_READY)["status"] == "False"

    # Further ways for a server to be unreachable or the wrong one.
    await outside.put("wrong-rabbitmq", outside.secret("rabbitmq", uri="amqps://a:b@mq.invalid"))
    await outside.put("wrong-redis", outside.secret("redis", HELPER))
    right: dict[str, Any] = {"tls": {"caSecretRef": {"name": "authority"}}}
    # By the pod's address: where traffic to a port that a Service lacks ends depends on the node.
    pod = await outside.cluster.read("pods", "redis", namespace=outside.namespace)
    closed = f"{pod['status']['podIP']}:27017"
    await outside.put("wrong-mongodb", {"uri": f"mongodb://a:b@{closed}/"})
    named = {"mongodb": {"external": right | {"connectionSecretRef": {"name": "wrong-mongodb"}}}}
    await patch(outside, IDLE, {"spec": named})
    says = await told(
        outside, {"redis": "PermissionMissing", "rabbitmq": "Unreachable", "mongodb": "Unreachable"}
    )
    assert "ACL SETUSER helper +acl" in says["redis"]
    assert "mq.invalid of RabbitMQ (AMQP) does not resolve" in says["rabbitmq"]
    await outside.put("wrong-redis", {"password": "x"})
    await outside.cluster.delete("secrets", "wrong-mongodb", namespace=outside.namespace)
    says = await told(outside, {"redis": "SecretInvalid", "mongodb": "SecretMissing"})
    assert "neither uri nor host" in says["redis"]

    assert await credentials(outside, IDLE) == before, (
        "credentials that do not work were distributed"
    )
    back = {
        name: {"external": {"connectionSecretRef": {"name": name}}}
        for name in ("rabbitmq", "redis", "mongodb")
    }
    await patch(outside, IDLE, {"spec": back})
    await wait_ready(outside, IDLE)
    assert await credentials(outside, IDLE) == before


async def test_a_switch_waits_until_it_is_confirmed_and_keeps_the_volume(outside: Outside) -> None:
    found = await wait_ready(outside, IDLE)
    block = found["spec"]["redis"]["external"]
    before = await credentials(outside, IDLE)
    await patch(outside, IDLE, {"spec": {"redis": {"external": None}}})

    async def held() -> bool:
        now = condition(await resource(outside, IDLE), ConditionType.DEGRADED)
        return bool(now["reason"] == "SwitchNotConfirmed")

    await until(held, within=30, what="SwitchNotConfirmed")
    says = condition(await resource(outside, IDLE), ConditionType.DEGRADED)["message"]
    assert f"{Annotation.ALLOW_SWITCH}=redis:Managed" in says
    assert await credentials(outside, IDLE) == before, "the external server stays in use"
    assert not await outside.cluster.list("statefulsets", namespace=outside.namespace)

    async def confirm(word: str) -> Object:
        await patch(outside, IDLE, {"metadata": {"annotations": {Annotation.ALLOW_SWITCH: word}}})
        return await wait_ready(outside, IDLE)

    found = await confirm("redis:Managed")
    assert found["status"]["backends"]["redis"] == {"kind": "Managed"}
    claim = f"data-{IDLE}-redis-0"
    await outside.cluster.read("persistentvolumeclaims", claim, namespace=outside.namespace)

    await patch(outside, IDLE, {"spec": {"redis": {"external": block}}})
    await until(held, within=30, what="SwitchNotConfirmed in the other direction")
    await outside.cluster.read("statefulsets", f"{IDLE}-redis", namespace=outside.namespace)
    found = await confirm("redis:External")
    assert found["status"]["backends"]["redis"]["kind"] == "External"
    assert not await outside.cluster.list("statefulsets", namespace=outside.namespace)
    await outside.cluster.read("persistentvolumeclaims", claim, namespace=outside.namespace)
