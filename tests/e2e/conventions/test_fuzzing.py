"""Hostile frames and messages: each gets a documented answer, and no defect shows.

HTTP bodies are in `test_openapi`. The seed of the run draws the variants.
"""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aio_pika
import pytest_asyncio

from ashchat_core.topology import QUEUES, Queue, Service
from ashchat_dev.client import Person
from ashchat_dev.conversation import converse
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.phoenix import PhoenixSocket, SocketLostError
from ashchat_dev.waiting import until
from ashchat_e2e.backends import RabbitManagement, forwarded_uri
from ashchat_e2e.hostile_input import variants
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.queue_readers import example, models
from ashchat_e2e.sampling import seed, whole

FRAMES = 2_000 if whole() else 200
"""Hostile frames that are sent."""

MESSAGES = 100 if whole() else 8
"""Hostile messages for each queue."""

ENDINGS = {1007, 1009, 4400, 4429}
"""How the server may end a socket for its frames, by docs/reference/protocol.md."""

QUEUES_PATH = "/api/queues/ashchat"
AMQP_PORT = 5672
CONSUMED = "ashchat_amqp_consumed_total"

HELD = {Queue.PROFILE_CHANGED}
"""Not tried: chat holds a message about an account that it does not know yet."""

READERS = sorted({spec.reader for spec in QUEUES})


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def no_defects(cluster: Cluster) -> AsyncIterator[None]:
    """Compare each service's restarts and logged exceptions with those before the test."""
    before = {service: await defects(cluster, service) for service in READERS}
    yield
    for service in READERS:
        assert await defects(cluster, service) == before[service], service


async def defects(cluster: Cluster, service: Service) -> Counter[str]:
    """Return how often each pod restarted, and what failed in it that nobody had foreseen."""
    found: Counter[str] = Counter()
    for pod in await cluster.pods(service):
        body = await cluster.read("pods", pod)
        found[pod] += sum(each["restartCount"] for each in body["status"]["containerStatuses"])
        for line in (await cluster.logs(pod)).splitlines():
            if '"a frame failed"' in line or '"handler failed"' in line:
                found[f"{pod}: {json.loads(line).get('exception', '')[-400:]}"] += 1
    return found


def frames(chat_id: str, user_id: str) -> list[Any]:
    """Return valid frames of every kind that a client sends; no other frame has these refs."""
    chat, reference = f"chat:{chat_id}", str(uuid.uuid4())
    return [
        ["j1", "f1", chat, "phx_join", {"protocol": 2, "since": 0}],
        ["j2", "f2", f"notifications:{user_id}", "phx_join", {}],
        ["j3", "f3", "presence:lobby", "phx_join", {}],
        ["j1", "f4", chat, "send_message", {"content": "Hola", "mobile_ref_id": reference}],
        ["j1", "f5", chat, "typing", {"is_typing": True}],
        ["j1", "f6", chat, "ack", {"rev": 1}],
        [None, "f7", "phoenix", "heartbeat", {}],
        ["j3", "f8", "presence:lobby", "phx_leave", {}],
    ]


async def send_all(who: Person, texts: list[str]) -> Counter[int]:
    """Send each frame; the server then still answers, or has ended the socket as documented.

    Returns:
        How often the server ended a socket, by close code.
    """
    endings: Counter[int] = Counter()
    socket: PhoenixSocket | None = None
    for text in texts:
        if socket is None:
            socket = await who.socket()
        try:
            await socket.send_text(text)
            assert (await socket.heartbeat()).status == "ok"
        except SocketLostError:
            closed = await asyncio.wait_for(socket.closed, 5)
            endings[closed.code] += 1
            assert closed.code in ENDINGS, (closed, text[:200])
            socket = None
    return endings


async def test_hostile_frames_get_documented_answers_and_others_talk_on(
    person: PersonFactory, record_property: Any
) -> None:
    ana, ben, eve = await asyncio.gather(
        person("Ana", "es"), person("Ben", "en"), person("Eve", "en")
    )
    chat_id = await eve.open_chat(await ben.tag())
    valid = frames(chat_id, eve.user_id)
    texts = [
        text
        for number, frame in enumerate(valid)
        for text in variants(frame, FRAMES // len(valid), f"{seed()} frame {number}")
    ]
    began = time.monotonic()
    endings = await send_all(eve, texts)
    record_property("frames", f"{len(texts)} in {time.monotonic() - began:.1f} s, ended {endings}")
    assert endings[4400], "no frame was malformed: the variants are too tame"
    await converse(ana, ben)
    await converse(eve, ana)


async def ended(cluster: Cluster, outcome: str) -> Counter[Queue]:
    """Return how many messages of each queue ended like this, over all pods."""
    found: Counter[Queue] = Counter()
    for service in READERS:
        for pod in await cluster.pods(service):
            metrics = await cluster.metrics(pod)
            for spec in QUEUES:
                found[spec.name] += int(metrics.total(CONSUMED, queue=spec.name, outcome=outcome))
    return found


async def publish(cluster: Cluster, bodies: Mapping[Queue, Sequence[str]]) -> None:
    """Publish to each queue as its writer; the broker confirms each message."""
    async with AsyncExitStack() as stack:
        exchanges = {}
        for service in {spec.writer for spec in QUEUES}:
            uri = await forwarded_uri(cluster, stack, service, "rabbitmq.uri", AMQP_PORT)
            connection = await stack.enter_async_context(await aio_pika.connect(uri, timeout=10))
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            exchanges[service] = await channel.get_exchange(service, ensure=False)
        for spec in QUEUES:
            for body in bodies.get(spec.name, ()):
                message = aio_pika.Message(
                    body.encode(errors="surrogatepass"), message_id=str(uuid.uuid4())
                )
                await exchanges[spec.writer].publish(message, spec.name, timeout=10)


async def test_hostile_messages_are_handled_or_dead_lettered(
    cluster: Cluster,
    person: PersonFactory,
    rabbit: RabbitManagement,
    tmp_path: Path,
    record_property: Any,
) -> None:
    done, rejected = await ended(cluster, "done"), await ended(cluster, "rejected")
    bodies = {
        queue: [*variants(example(model), MESSAGES, f"{seed()} {queue}")]
        for queue, model in models(tmp_path).items()
        if queue not in HELD
    }
    began = time.monotonic()
    await publish(cluster, bodies)
    sent = sum(map(len, bodies.values()))

    new: Counter[Queue] = Counter()

    async def all_ended() -> bool:
        new.clear()
        new.update(await ended(cluster, "rejected"))
        new.subtract(rejected)
        both = new + await ended(cluster, "done")
        return all(both[queue] - done[queue] >= len(bodies[queue]) for queue in bodies)

    await until(all_ended, within=90, every=1, what="every message handled or dead-lettered")
    seconds = time.monotonic() - began
    record_property("messages", f"{sent} in {seconds:.1f} s, {new.total()} dead")
    assert new.total(), "no message was malformed: the variants are too tame"
    for spec in QUEUES:
        await rabbit.delete(f"{QUEUES_PATH}/{spec.dead}/contents")
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    await converse(ana, ben)
