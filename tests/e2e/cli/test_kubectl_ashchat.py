"""`kubectl ashchat` as a user runs it: a separate process, the cluster, and real faults."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import pytest_asyncio

from ashchat_cli.broker import Broker
from ashchat_cli.cluster import Cluster as CliCluster
from ashchat_cli.cluster import Where
from ashchat_cli.faults import Exit
from ashchat_cli.letters import HIDDEN, spec_of
from ashchat_cli.reach import broker_of
from ashchat_core.api.names import Annotation
from ashchat_core.messages import SessionRevoked
from ashchat_core.topology import DEAD_LETTER_EXCHANGE, VHOST, Queue
from ashchat_dev.kube.cluster import Cluster, inverse
from ashchat_dev.waiting import until
from ashchat_e2e.backends import RabbitManagement, forwarded_uri
from ashchat_e2e.history import History
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.resilient_client import Steadfast

BIN = Path(sys.executable).parent
REVOKED = spec_of("session_revoked_chat")
MANY = 600


@dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


async def begin(cluster: Cluster, *command: str) -> asyncio.subprocess.Process:
    """Start a command with the plugin on PATH, as after `pipx install`."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "KUBECONFIG": str(cluster.kubeconfig),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        },
    )


async def ended(process: asyncio.subprocess.Process) -> Ran:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def ashchat(cluster: Cluster, *words: str) -> Ran:
    place = ("-n", cluster.namespace)
    return await ended(await begin(cluster, str(BIN / "ashchat"), *words, *place))


@pytest_asyncio.fixture(loop_scope="session")
async def broker(cluster: Cluster) -> AsyncIterator[Broker]:
    """Connect to RabbitMQ the way the command line does."""
    where = Where(kubeconfig=str(cluster.kubeconfig), namespace=cluster.namespace)
    async with (
        await CliCluster.connect(where) as connected,
        broker_of(connected, await cluster.resource()) as found,
    ):
        yield found


async def dead(broker: Broker, queue: Queue) -> int:
    spec = spec_of(queue.value)
    assert spec is not None
    depth = (await broker.depths([spec.dead]))[spec.dead]
    return depth.messages if depth else 0


async def test_kubectl_shows_that_it_is_ready(cluster: Cluster) -> None:
    async def without_faults() -> Ran:
        ran = await ended(
            await begin(cluster, cluster.kubectl, "ashchat", "status", "-n", cluster.namespace)
        )
        assert "✗" not in ran.out, ran.out
        return ran

    # Services that an earlier test restarted may not have subscribed to their queues yet.
    ran = await until(
        without_faults, within=30, what="a status without faults", ignoring=(AssertionError,)
    )
    assert ran.code == Exit.OK, ran.err
    assert f"✓ {cluster.namespace}/{cluster.name}  Ready" in ran.out
    assert "\x1b" not in ran.out  # output to a pipe is not coloured
    assert max(map(len, ran.out.splitlines())) <= 80


async def test_kubectl_completes(cluster: Cluster) -> None:
    ran = await ended(await begin(cluster, cluster.kubectl, "__complete", "ashchat", "dlq", ""))
    assert "replay\t" in ran.out, ran.err


async def test_status_as_data_covers_all_components_and_queues(cluster: Cluster) -> None:
    ran = await ashchat(cluster, "status", cluster.name, "-o", "json")
    assert ran.code == Exit.OK
    (told,) = ran.data["items"]
    assert told["ready"] is True
    status = (await cluster.resource())["status"]
    assert {each["name"] for each in told["components"]} == {
        each["name"] for each in status["components"]
    }
    assert {each["name"] for each in told["queues"]} == set(Queue)
    assert all(each["consumers"] for each in told["queues"])


async def test_the_doctor_finds_nothing_if_all_is_in_order(cluster: Cluster) -> None:
    async def nothing() -> bool:
        ran = await ashchat(cluster, "doctor", cluster.name, "-o", "json")
        found = [each for each in ran.data["findings"] if each["rule"] != "dead-letters"]
        return not found and not ran.data["skipped"]

    await until(nothing, within=30, what="no finding")


async def test_an_absent_resource_is_exit_code_4(cluster: Cluster) -> None:
    ran = await ashchat(cluster, "status", "nobody")
    assert ran.code == Exit.NOT_FOUND
    assert "there is no AshChat nobody" in ran.err


@asynccontextmanager
async def deny_egress(cluster: Cluster) -> AsyncIterator[None]:
    """Deny DNS queries to the Apertium pods, which do not need them."""
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "test-cli-deny"},
        "spec": {
            "podSelector": {"matchLabels": cluster.labels("apertium")},
            "policyTypes": ["Egress"],
        },
    }
    await cluster.create("networkpolicies", body)
    try:
        yield
    finally:
        await cluster.delete("networkpolicies", "test-cli-deny")


async def test_not_ready_is_shown_and_the_doctor_reports_cause_and_remedy(
    cluster: Cluster,
) -> None:
    # The API server rejects credentials over an unencrypted connection, hence TLS.
    smtp = {"security": "StartTLS", "credentialsSecretRef": {"name": "test-cli-absent"}}
    broken = {
        "chat": {"image": "localhost/none:none"},
        "email": {"smtp": smtp},
        # The operator's own policy would allow what the test's policy denies.
        "networkPolicy": {"mode": "Disabled"},
    }
    back = inverse(broken, (await cluster.resource())["spec"])
    async with deny_egress(cluster):
        await cluster.patch("ashchats", cluster.name, {"spec": broken})
        try:

            async def diagnosed() -> Ran | None:
                ran = await ashchat(cluster, "doctor", cluster.name, "-o", "json")
                rules = {each["rule"] for each in ran.data["findings"]}
                return ran if {"images", "secrets", "network", "ready"} <= rules else None

            ran = await until(diagnosed, within=60, every=1, what="all three faults found")
            assert ran.code == Exit.ERRORS
            found = {each["rule"]: each for each in ran.data["findings"]}
            assert "localhost/none:none" in found["images"]["what"]
            assert "kubectl" in found["images"]["do"]
            assert "create secret generic test-cli-absent" in found["secrets"]["do"]
            assert "test-cli-deny" in found["network"]["what"]
            shown = await ashchat(cluster, "status", cluster.name)
            assert shown.code == Exit.NOT_OK
            assert "✗ chat" in shown.out
            ran = await ashchat(cluster, "status", cluster.name, "-o", "json")
            (told,) = ran.data["items"]
            chat = next(each for each in told["components"] if each["name"] == "chat")
            assert (ran.code, chat["ready"]) == (Exit.NOT_OK, False)
            assert "localhost/none:none" in chat["message"]
        finally:
            await cluster.patch("ashchats", cluster.name, {"spec": back})
    await cluster.wait_ready(within=120)


async def test_a_dead_letter_is_listed_shown_replayed_and_delivered(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    text = "mi casa es muy grande"
    async with Steadfast(ana, chat_id, History()) as one, Steadfast(ben, chat_id, History()) as two:
        async with cluster.spec({"translate": {"replicas": 0}}), AsyncExitStack() as stack:
            ref = await one.send(text)
            # Acts as translate does: receives the job and rejects it.
            uri = await forwarded_uri(cluster, stack, "translate", "rabbitmq.uri", 5672)
            connection = await stack.enter_async_context(await aio_pika.connect(uri, timeout=10))
            queue = await (await connection.channel()).get_queue(Queue.TRANSLATE, ensure=False)
            job = await until(lambda: queue.get(fail=False), within=20, what="the job")
            await job.reject(requeue=False)
        assert ref not in two.translated

        async def listed() -> bool:
            ran = await ashchat(cluster, "dlq", "list", cluster.name, "-o", "json")
            return any(
                each["queue"] == Queue.TRANSLATE and each["messages"] for each in ran.data["items"]
            )

        await until(listed, within=20, what="the dead letter listed")
        ran = await ashchat(cluster, "dlq", "show", "translate", cluster.name, "-o", "json")
        mine = next(each for each in ran.data["items"] if each["id"] == job.message_id)
        assert (mine["reason"], mine["type"]) == ("rejected", "TranslateJob")
        assert mine["fields"]["text"] == HIDDEN
        assert text not in ran.out
        whole = await ashchat(cluster, "dlq", "show", "translate", "--body", "-o", "json")
        assert text in whole.out

        ran = await ashchat(cluster, "dlq", "replay", "translate", "--id", str(job.message_id))
        assert (ran.code, ran.out) == (Exit.OK, "sent 1 to TRANSLATE_QUEUE\n")
        await until(lambda: ref in two.translated, within=30, what="the translation")
        again = await ashchat(cluster, "dlq", "replay", "translate", "--id", str(job.message_id))
        assert again.code == Exit.NOT_FOUND


@asynccontextmanager
async def many_dead(cluster: Cluster, rabbit: RabbitManagement) -> AsyncIterator[list[str]]:
    """Dead-letter many messages in SESSION_REVOKED_CHAT_QUEUE.dead, for users that do not exist."""
    secret = await cluster.secret(f"{cluster.name}-rabbitmq-admin")
    user, password = secret["username"].decode(), secret["password"].decode()
    ids = [f"test-{number:04}" for number in range(MANY)]
    async with cluster.forward(f"service/{cluster.name}-rabbitmq", 5672) as port:
        connection = await aio_pika.connect(
            host="127.0.0.1", port=port, login=user, password=password, virtualhost=VHOST
        )
        async with connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(DEAD_LETTER_EXCHANGE, ensure=False)
            for name in ids:
                body = SessionRevoked(user_id=name, session_ids=(name,), at=datetime.now(UTC))
                await exchange.publish(
                    aio_pika.Message(body.model_dump_json().encode(), message_id=name),
                    Queue.SESSION_REVOKED_CHAT,
                )
    try:
        yield ids
    finally:
        await rabbit.delete(f"/api/queues/{VHOST}/{Queue.SESSION_REVOKED_CHAT}.dead/contents")


async def consumed(cluster: Cluster) -> float:
    """Return how many of the queue's messages the chat pods have acknowledged."""
    total = 0.0
    for pod in await cluster.pods("chat"):
        metrics = await cluster.metrics(pod)
        total += metrics.total(
            "ashchat_amqp_consumed_total", queue=Queue.SESSION_REVOKED_CHAT.value, outcome="done"
        )
    return total


async def test_listing_changes_nothing_and_a_killed_replay_loses_nothing(
    cluster: Cluster, rabbit: RabbitManagement, broker: Broker
) -> None:
    assert REVOKED is not None
    before = await consumed(cluster)
    async with many_dead(cluster, rabbit) as ids:
        # More often than a queue's default delivery limit.
        for _ in range(22):
            letters = await broker.look(REVOKED, 5)
            assert [letter.message_id for letter in letters] == ids[:5]

        async def all_back() -> bool:
            return await dead(broker, Queue.SESSION_REVOKED_CHAT) == MANY

        await until(all_back, within=10, what="all dead letters back in the queue")
        assert [x.message_id for x in await broker.look(REVOKED, MANY)] == ids

        process = await begin(
            cluster,
            str(BIN / "ashchat"),
            *("dlq", "replay", "session_revoked_chat", "--all", "-n", cluster.namespace),
        )

        async def taken() -> bool:
            return await dead(broker, Queue.SESSION_REVOKED_CHAT) == 0

        async def some_sent() -> bool:
            # It stands still meanwhile: all could be sent before the pods have answered.
            process.send_signal(signal.SIGSTOP)
            # With two of them sent, one is acknowledged.
            sent = await consumed(cluster) >= before + 2
            if not sent:
                process.send_signal(signal.SIGCONT)
            return sent

        await until(taken, within=30, every=0.01, what="the dead letters taken")
        await until(some_sent, within=30, every=0.01, what="some dead letters sent")
        process.kill()
        assert (await ended(process)).code < 0

        async def settled() -> int | None:
            """Return what is left after the broker has requeued the unacknowledged messages."""
            first = await dead(broker, Queue.SESSION_REVOKED_CHAT)
            await asyncio.sleep(1)
            return first if first == await dead(broker, Queue.SESSION_REVOKED_CHAT) else None

        left = await until(settled, within=20, what="the queue settled")
        assert 0 < left < MANY
        remaining = [letter.message_id for letter in await broker.look(REVOKED, MANY)]
        assert remaining == ids[-left:]

        ran = await ashchat(cluster, "dlq", "replay", "session_revoked_chat", "--all", "-o", "json")
        assert ran.code == Exit.OK
        assert len(ran.data["items"]) == left

        async def all_delivered() -> bool:
            # A message that was confirmed but not acknowledged before the kill is delivered twice.
            return MANY <= await consumed(cluster) - before <= MANY + 1

        await until(all_delivered, within=30, what="all delivered, at most one of them twice")
        assert await dead(broker, Queue.SESSION_REVOKED_CHAT) == 0


async def test_annotation_commands_are_shown_and_removed(cluster: Cluster) -> None:
    assert (await ashchat(cluster, "pause", cluster.name)).code == Exit.OK
    try:
        annotations = (await cluster.resource())["metadata"]["annotations"]
        assert annotations[Annotation.PAUSE] == "true"
        shown = await ashchat(cluster, "status", cluster.name)
        assert "paused: nothing is reconciled" in shown.out
        diagnosis = await ashchat(cluster, "doctor", cluster.name, "-o", "json")
        assert "paused" in {each["rule"] for each in diagnosis.data["findings"]}
    finally:
        assert (await ashchat(cluster, "resume", cluster.name)).code == Exit.OK
    assert Annotation.PAUSE not in (await cluster.resource())["metadata"].get("annotations", {})
