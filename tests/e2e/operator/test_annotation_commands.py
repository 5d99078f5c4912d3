"""The pause and restart annotations work, and status and events acknowledge them."""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import Annotation
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.audit_log import AuditLog, brief
from ashchat_e2e.operator_pods import generations, own_metrics, reconciled

WITHIN_S = 5.0
"""A generous limit: usually it takes a second, and it is measured."""

RESTART = "ashchat.dev/restart-"
COMPONENT = "apertium"

Measure = Callable[[str, float], None]
Object = dict[str, Any]


async def annotate(cluster: Cluster, **annotations: str | None) -> None:
    named = {f"ashchat.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    await cluster.patch("ashchats", cluster.name, {"metadata": {"annotations": named}})


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def unpulled(cluster: Cluster, ready: None) -> AsyncIterator[None]:  # noqa: ARG001
    """Remove the annotations at the end."""
    yield
    annotations = (await cluster.resource())["metadata"].get("annotations", {})
    off = {key: None for key in annotations if key == Annotation.PAUSE or key.startswith(RESTART)}
    await cluster.patch("ashchats", cluster.name, {"metadata": {"annotations": off}})


async def condition(cluster: Cluster, kind: str, status: str, word: str = "") -> Object:
    """Wait until a condition has a status and its message contains a word, and return it."""

    async def found() -> Object | None:
        body = await cluster.resource()
        for item in body["status"]["conditions"]:
            if item["type"] == kind and item["status"] == status and word in item["message"]:
                return dict(item)
        return None

    return await until(found, within=WITHIN_S, every=0.1, what=f"{kind} {status} {word}")


async def events(cluster: Cluster, reason: str) -> dict[str, str]:
    """Return the messages of the AshChat's events with this reason, by the events' names."""
    uid = (await cluster.resource())["metadata"]["uid"]
    return {
        event["metadata"]["name"]: event["message"]
        for event in await cluster.list("events")
        if event["reason"] == reason and event["involvedObject"].get("uid") == uid
    }


async def another_event(
    cluster: Cluster, reason: str, before: dict[str, str], word: str = ""
) -> None:
    async def told() -> bool:
        now = await events(cluster, reason)
        return any(word in now[name] for name in now.keys() - before.keys())

    await until(told, within=WITHIN_S, what=f"an event {reason} {word}")


async def test_pause_stops_all_writes_until_it_is_removed(
    cluster: Cluster, audit: AuditLog, measure: Measure
) -> None:
    paused, resumed = await events(cluster, "Paused"), await events(cluster, "Resumed")
    began = time.monotonic()
    await annotate(cluster, pause="true")
    said = await condition(cluster, "Paused", "True")
    measure("pause acknowledged", time.monotonic() - began)
    assert Annotation.PAUSE in said["message"]
    await another_event(cluster, "Paused", paused)
    assert (await own_metrics(cluster)).value(
        "ashchat_operator_resource_paused", namespace=cluster.namespace, name=cluster.name
    ) == 1
    mark = audit.mark()
    name = (await cluster.list("configmaps", cluster.labels("rabbitmq")))[0]["metadata"]["name"]
    await cluster.delete("configmaps", name)
    await annotate(cluster, restart_apertium="while-paused")
    said = await condition(cluster, ConditionType.COMMANDS_HANDLED, "False")
    assert said["reason"] == "Paused"
    await reconciled(cluster)
    assert await cluster.find("configmaps", name) is None
    written = [
        brief(entry)
        for entry in audit.since(
            mark, user=f"serviceaccount:{cluster.operator_namespace}:", namespace=cluster.namespace
        )
        if entry["objectRef"]["resource"] not in {"leases", "events"}
        and entry["objectRef"].get("subresource") != "status"
    ]
    assert not written, written
    await annotate(cluster, restart_apertium=None, pause=None)
    await condition(cluster, "Paused", "False")
    await another_event(cluster, "Resumed", resumed)

    async def back() -> bool:
        return await cluster.find("configmaps", name) is not None

    await until(back, within=WITHIN_S, what="the deleted object re-created")
    assert (await own_metrics(cluster)).value(
        "ashchat_operator_resource_paused", namespace=cluster.namespace, name=cluster.name
    ) == 0


async def test_one_component_is_restarted_once_per_token(
    cluster: Cluster, measure: Measure
) -> None:
    token = secrets.token_hex(4)
    before, pods = await generations(cluster), await cluster.pods(COMPONENT)
    known = await events(cluster, "Restarted")
    began = time.monotonic()
    await annotate(cluster, restart_apertium=token)

    async def acknowledged() -> bool:
        commands = (await cluster.resource())["status"].get("commands", {})
        return bool(commands.get("restarts", {}).get(COMPONENT) == token)

    await until(acknowledged, within=WITHIN_S, every=0.1, what="the token in the status")
    measure("restart acknowledged", time.monotonic() - began)
    await condition(cluster, ConditionType.COMMANDS_HANDLED, "True", token)
    await another_event(cluster, "Restarted", known, token)
    await cluster.wait_ready(within=120)
    assert not set(pods) & set(await cluster.pods(COMPONENT)), "a pod was not replaced"
    after = await generations(cluster)
    assert {name for name in after if after[name] != before[name]} == {COMPONENT}
    # Removing the annotation requests nothing.
    await annotate(cluster, restart_apertium=None)
    await reconciled(cluster)
    assert await generations(cluster) == after
    await cluster.wait_former_gone(COMPONENT)


async def test_a_rollout_restart_by_kubectl_happens_once(cluster: Cluster) -> None:
    before, pods = await generations(cluster), await cluster.pods(COMPONENT)
    await cluster.kubectl_run("rollout", "restart", f"deployment/{cluster.name}-{COMPONENT}")
    await reconciled(cluster, 2)
    await cluster.wait_ready(within=120)
    assert not set(pods) & set(await cluster.pods(COMPONENT)), "a pod was not replaced"
    assert await generations(cluster) == {**before, COMPONENT: before[COMPONENT] + 1}
    await cluster.wait_former_gone(COMPONENT)


async def test_an_unknown_component_is_reported_with_the_valid_ones(
    cluster: Cluster,
) -> None:
    before = await events(cluster, "NotCommandsHandled")
    await annotate(cluster, restart_chta="now")
    said = await condition(cluster, ConditionType.COMMANDS_HANDLED, "False", "restart-chta")
    assert said["reason"] == "UnknownComponent"
    for word in ("rabbitmq", "chat", "translate"):
        assert word in said["message"]
    await another_event(cluster, "NotCommandsHandled", before, "restart-chta")
    await annotate(cluster, restart_chta=None)
    await condition(cluster, ConditionType.COMMANDS_HANDLED, "True")
