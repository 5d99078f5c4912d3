"""A cluster of three nodes loses one, or one is drained, while users talk."""

import asyncio
import secrets
import time
from collections.abc import Callable

import pytest

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.history import History
from ashchat_e2e.nodes import Nodes
from ashchat_e2e.operator_pods import all_ready, configured, holder, leader, operator_pods
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.talkers import Talker, Talkers, check, converse, two_talkers
from ashchat_e2e.traffic import traffic

RESUMED_S = 15.0
"""Within how many seconds of the node's loss being noticed clients resume elsewhere."""

RECOVERY_S = 180.0
REPORTED_S = 60.0
FAILOVER_S = 20.0
SPREAD = ("chat", "auth", "edge")
RESTART = "ashchat.dev/restart-"

Measure = Callable[[str, float], None]

pytestmark = [pytest.mark.nodes, pytest.mark.disruptive]


async def talkers_on(nodes: Nodes, node: str, person: PersonFactory, history: History) -> Talkers:
    """Return two users in a chat, the first one on a node's chat pod, the other elsewhere."""
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    one, other = await two_talkers(ana, ben, history)
    where = await nodes.of("chat")
    # The edge prefers the pod with the fewest connections, so the other one leaves the node first.
    for talker, wanted in ((other, False), (one, True)):
        await reconnected(talker, lambda pod, wanted=wanted: (where[pod] == node) is wanted)  # type: ignore[misc]
    return one, other


async def reconnected(talker: Talker, right: Callable[[str], bool]) -> None:
    for _ in range(60):
        channel = await talker.channel()
        if right(talker.pods[-1]):
            return
        await channel.socket.close()
    raise AssertionError("no connection to the wanted pod in 60 attempts")


@pytest.mark.parametrize("component", SPREAD)
async def test_a_rollout_is_spread_over_the_nodes(
    cluster: Cluster, nodes: Nodes, component: str
) -> None:
    await rolled_out(cluster, component)
    placed = await nodes.of(component)
    assert sorted(placed.values()) == await nodes.names(), placed


async def rolled_out(cluster: Cluster, component: str) -> None:
    """Replace all pods of a component, and so spread them over the nodes."""
    annotations = {f"{RESTART}{component}": secrets.token_hex(4)}
    former = set(await cluster.pods(component))
    await cluster.patch("ashchats", cluster.name, {"metadata": {"annotations": annotations}})

    async def replaced() -> bool:
        return bool(now := set(await cluster.pods(component))) and not now & former

    await until(replaced, within=RECOVERY_S, every=0.5, what=f"new pods of {component}")
    await cluster.wait_former_gone(component, within=RECOVERY_S)


@pytest.mark.parametrize("fault", ["lost", "cut_off"])
async def test_users_resume_elsewhere_when_the_node_of_their_pod_fails(
    cluster: Cluster, nodes: Nodes, person: PersonFactory, measure: Measure, fault: str
) -> None:
    history = History()
    node = await nodes.without_data()
    await rolled_out(cluster, "chat")  # after a drain all pods are on the other nodes
    talkers = await talkers_on(nodes, node, person, history)
    where = await nodes.of("chat")
    failing = nodes.lost(node) if fault == "lost" else nodes.cut_off(node)

    async def fail() -> None:
        began = time.monotonic()
        await failing.__aenter__()
        await nodes.wait_noticed(node)
        noticed = time.monotonic()
        measure(f"node {fault}: noticed by the control plane", noticed - began)
        sent = {one.person.name: len(one.acknowledged) for one in talkers}

        async def all_talk() -> bool:
            return all(
                len(one.acknowledged) > sent[one.person.name] and where[one.pods[-1]] != node
                for one in talkers
            )

        await until(all_talk, within=RESUMED_S, every=0.1, what="both talk on other nodes")
        measure(f"node {fault}: both talk elsewhere, since noticed", time.monotonic() - noticed)

    async def recovered() -> None:
        await failing.__aexit__(None, None, None)
        await cluster.wait_ready(within=RECOVERY_S)

    await converse(talkers, fail, recovered)
    await check(talkers, history)
    assert talkers[0].resumed >= 1, "the loss of the node was not noticed"


async def test_a_drain_fails_no_request_and_respects_disruption_budgets(
    cluster: Cluster, nodes: Nodes, person: PersonFactory, mailbox: Mailbox, measure: Measure
) -> None:
    node = await nodes.without_data()
    replicas = {each: len(await cluster.pods(each)) for each in SPREAD}
    least = dict(replicas)

    async def watch() -> None:
        while True:
            for component in SPREAD:
                least[component] = min(least[component], len(await cluster.pods(component)))
            await asyncio.sleep(0.1)

    async with traffic(person, mailbox) as seen:
        await until(lambda: seen.done["message"] >= 4, within=60, what="a conversation")
        watching = asyncio.create_task(watch())
        began = time.monotonic()
        async with nodes.drained(node):
            measure("drain", time.monotonic() - began)
            watching.cancel()
            for component in SPREAD:
                assert node not in (await nodes.of(component)).values()
            await cluster.wait_ready(within=RECOVERY_S)
    assert seen.failed == []
    assert all(least[each] >= replicas[each] - 1 for each in SPREAD), (least, replicas)


async def test_the_status_names_what_has_its_volume_on_a_lost_node(
    cluster: Cluster, nodes: Nodes, measure: Measure
) -> None:
    ((node, components),) = (await nodes.volumes()).items()
    assert {"mongodb", "rabbitmq", "redis", "static"} <= components
    await operate_from(cluster, nodes, await nodes.without_data())

    async def named() -> bool:
        status = (await cluster.resource())["status"]
        found = {each["name"]: each for each in status["components"]}
        return all(
            found[each]["reason"] == "NodeLost" and f"node {node} " in found[each]["message"]
            for each in components
        )

    async with nodes.lost(node):
        await nodes.wait_noticed(node)
        began = time.monotonic()
        await until(named, within=REPORTED_S, what="the status naming each component and the node")
        measure("status names the lost node, since noticed", time.monotonic() - began)
    began = time.monotonic()
    await cluster.wait_ready(within=RECOVERY_S)
    measure("Ready again after the node with all volumes is back", time.monotonic() - began)


async def test_an_operator_on_another_node_leads_when_the_leaders_node_is_lost(
    cluster: Cluster, nodes: Nodes, measure: Measure
) -> None:
    node = await nodes.without_data()
    await configured(cluster, {"replicas": 2})
    try:
        await all_ready(cluster, 2)
        await lead_from(cluster, nodes, node)
        name = await holder(cluster)
        began = time.monotonic()
        async with nodes.lost(node):

            async def another() -> bool:
                return (await holder(cluster)) not in {name, ""}

            await until(another, within=FAILOVER_S, what="another leader")
            measure("leader's node lost: another leads", time.monotonic() - began)
        await all_ready(cluster, 2)
    finally:
        await configured(cluster, {"replicas": 1})


async def operate_from(cluster: Cluster, nodes: Nodes, node: str) -> None:
    """Move the only operator to a node: on the lost one it could not report the loss."""
    async with nodes.only(node):
        for pod in await operator_pods(cluster):
            await removed(cluster, pod["metadata"]["name"])
        await all_ready(cluster, 1)
    assert (await leader(cluster))["spec"]["nodeName"] == node


async def lead_from(cluster: Cluster, nodes: Nodes, node: str) -> None:
    """Let an operator pod on a node lead: the standby is placed there, and takes over."""
    leads = await leader(cluster)
    async with nodes.only(node):
        for pod in await operator_pods(cluster):
            if pod["metadata"]["name"] != leads["metadata"]["name"]:
                await removed(cluster, pod["metadata"]["name"])
        await all_ready(cluster, 2)
    await removed(cluster, leads["metadata"]["name"])
    await all_ready(cluster, 2)
    assert (await leader(cluster))["spec"]["nodeName"] == node


async def removed(cluster: Cluster, pod: str) -> None:
    await cluster.delete("pods", pod, namespace=cluster.operator_namespace)
