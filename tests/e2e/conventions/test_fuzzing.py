"""Hostile frames and messages: each gets a documented answer, and no defect shows.

HTTP bodies are in `test_openapi`. The seed of the run draws the variants.
"""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest_asyncio

from ashchat_core.messages import ProfileChanged
from ashchat_core.topology import QUEUES, Queue, Service
from ashchat_dev.client import Person
from ashchat_dev.conversation import converse
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.phoenix import Frame, Payload, PhoenixSocket, SocketLostError, encode
from ashchat_dev.waiting import until
from ashchat_e2e.backends import RabbitManagement, forwarded_uri
from ashchat_e2e.hostile_input import objects, variants
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.queue_readers import example
from ashchat_e2e.sampling import seed, whole

FRAMES = 2_000 if whole() else 200
"""Hostile frames that are sent."""

MESSAGES = 100 if whole() else 8
"""Hostile messages for each queue."""

HANDLED_SHARE = 0.3
"""Minimum share of the frames that reach a handler: half of them have a valid envelope, and an
eighth of these are `typing`, which has no answer."""

ANSWERED = {"phx_join", "phx_leave", "send_message", "ack", "heartbeat"}
UNHANDLED = {"not_joined", "unknown_event", "unknown_topic", "rate_limited", "unavailable"}
"""Reasons of answers that no handler gave."""

ANSWER_S = 15.0
ENDINGS = {1007, 1009, 4400, 4429}
"""How the server may end a socket for its frames, by docs/reference/protocol.md."""

QUEUES_PATH = "/api/queues/ashchat"
AMQP_PORT = 5672
CONSUMED = "ashchat_amqp_consumed_total"

OUTCOMES = ("done", "rejected", "retried")
"""How the handling of a message may end."""

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


def frames(chat_id: str, user_id: str) -> list[Frame]:
    """Return valid frames of every kind that a client sends; no other frame has these refs."""
    chat, reference = f"chat:{chat_id}", str(uuid.uuid4())
    message = {"content": "Hola", "mobile_ref_id": reference}
    return [
        Frame("j1", "f1", chat, "phx_join", {"protocol": 2, "since": 0}),
        Frame("j2", "f2", f"notifications:{user_id}", "phx_join", {}),
        Frame("j3", "f3", "presence:lobby", "phx_join", {}),
        Frame("j1", "f4", chat, "send_message", message),
        Frame("j1", "f5", chat, "typing", {"is_typing": True}),
        Frame("j1", "f6", chat, "ack", {"n": 1}),
        Frame(None, "f7", "phoenix", "heartbeat", {}),
        Frame("j3", "f8", "presence:lobby", "phx_leave", {}),
    ]


@dataclass(eq=False)
class Fuzzer:
    """A client that sends hostile frames on a socket with every topic joined."""

    who: Person
    valid: list[Frame]
    endings: Counter[int] = field(default_factory=Counter)
    """How often the server ended a socket, by close code."""

    handled: Counter[str] = field(default_factory=Counter)
    """How many hostile frames reached the handler of their event."""

    _socket: PhoenixSocket | None = None

    async def send_text(self, text: str) -> None:
        """Send a text; the server then still answers, or has ended the socket as documented."""
        with self._endings(text):
            socket = await self._joined()
            await socket.send_text(text)
            assert (await socket.heartbeat()).status == "ok"

    async def send_payload(self, frame: Frame, payload: Payload) -> None:
        """Send a valid frame with a hostile payload; the server answers this frame.

        The topics are joined again if an earlier frame has left them.
        """
        with self._endings(str(payload)):
            while True:
                socket = await self._joined()
                if frame.event == "typing":
                    await socket.send_text(encode(frame._replace(payload=payload)))
                    assert (await socket.heartbeat()).status == "ok"
                    return
                reply = await socket.request(
                    frame.topic, frame.event, payload, frame.join_ref, ANSWER_S, ref=frame.ref
                )
                if reply.response.get("reason") != "not_joined":
                    break
                await socket.close()
                self._socket = None
            self.handled[frame.event] += reply.response.get("reason") not in UNHANDLED

    async def _joined(self) -> PhoenixSocket:
        if self._socket is None:
            self._socket = await self.who.socket()
            for frame in self.valid:
                if frame.event == "phx_join":
                    reply = await self._socket.request(
                        frame.topic, frame.event, {**frame.payload}, frame.join_ref, ANSWER_S,
                        ref=frame.ref,
                    )  # fmt: skip
                    assert reply.status == "ok", reply
        return self._socket

    @contextmanager
    def _endings(self, sent: str) -> Iterator[None]:
        try:
            yield
        except SocketLostError:
            assert self._socket is not None
            closed = self._socket.closed.result()
            self.endings[closed.code] += 1
            assert closed.code in ENDINGS, (closed, sent[:200])
            self._socket = None


async def test_hostile_frames_get_documented_answers_and_others_talk_on(
    person: PersonFactory, record_property: Any
) -> None:
    ana, ben, eve = await asyncio.gather(
        person("Ana", "es"), person("Ben", "en"), person("Eve", "en")
    )
    chat_id = await eve.open_chat(await ben.tag())
    valid = frames(chat_id, eve.user_id)
    fuzzer = Fuzzer(eve, valid)
    each = FRAMES // len(valid) // 2
    began = time.monotonic()
    for number, frame in enumerate(valid):
        for text in variants(list(frame), each, f"{seed()} frame {number}"):
            await fuzzer.send_text(text)
        for payload in objects(frame.payload, each, f"{seed()} payload {number}"):
            await fuzzer.send_payload(frame, payload)
    record_property(
        "frames",
        f"{2 * each * len(valid)} in {time.monotonic() - began:.1f} s, "
        f"handled {dict(fuzzer.handled)}, ended {dict(fuzzer.endings)}",
    )
    assert fuzzer.endings[4400], "no frame was malformed: the variants are too tame"
    assert fuzzer.handled.keys() == ANSWERED, "a kind of frame never reached its handler"
    assert fuzzer.handled.total() >= FRAMES * HANDLED_SHARE
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


def unknown_account() -> str:
    """Return a change of the profile of an account that does not exist."""
    change = ProfileChanged(user_id=str(uuid.uuid4()), nickname="Nobody", at=datetime.now(UTC))
    return change.model_dump_json()


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
    record_property: Any,
) -> None:
    before = {outcome: await ended(cluster, outcome) for outcome in OUTCOMES}
    bodies = {
        spec.name: [*variants(example(spec.body), MESSAGES, f"{seed()} {spec.name}")]
        for spec in QUEUES
    }
    # Valid, and about an account that does not exist.
    bodies[Queue.PROFILE_CHANGED].append(unknown_account())
    began = time.monotonic()
    await publish(cluster, bodies)
    sent = sum(map(len, bodies.values()))

    new: dict[str, Counter[Queue]] = {}

    async def all_ended() -> bool:
        for outcome in OUTCOMES:
            new[outcome] = await ended(cluster, outcome)
            new[outcome].subtract(before[outcome])
        total = sum(new.values(), Counter[Queue]())
        return all(total[queue] >= len(bodies[queue]) for queue in bodies)

    await until(
        all_ended, within=90, every=1, what="every message handled, parked or dead-lettered"
    )
    seconds = time.monotonic() - began
    dead, parked = new["rejected"].total(), new["retried"]
    record_property("messages", f"{sent} in {seconds:.1f} s, {dead} dead, {parked.total()} parked")
    assert dead, "no message was malformed: the variants are too tame"
    assert parked[Queue.PROFILE_CHANGED], "the change of an unknown account is not parked"
    for spec in QUEUES:
        await rabbit.delete(f"{QUEUES_PATH}/{spec.dead}/contents")
        if spec.retry:
            await rabbit.delete(f"{QUEUES_PATH}/{spec.retry_queue}/contents")
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    await converse(ana, ben)
