"""What may grow under hostile load: restarts, memory, Redis, queues, disk, mails."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from redis.asyncio import Redis

from ashchat_core.topology import QUEUES, Service
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.backends import RabbitManagement

RESIDENT: Final = "process_resident_memory_bytes"
REDIS_PORT: Final = 6379
MAILS: Final = "ashchat_email_mails_total"


@dataclass(frozen=True, slots=True)
class Size:
    """The sizes at one moment."""

    restarts: Mapping[str, int]
    """By pod; a pod that was replaced has another name."""

    resident_bytes: Mapping[str, float]
    """By pod of a service."""

    memory_limits: Mapping[str, float] = field(default_factory=dict)
    redis_share: Mapping[str, float] = field(default_factory=dict)
    """Memory of each Redis that is used, of what it may use."""

    waiting: int = 0
    """Messages in the queues, without dead letters."""

    mails: int = 0
    """Mails sent since the pods of email began."""


async def measure(cluster: Cluster, rabbit: RabbitManagement) -> Size:
    """Measure an AshChat."""
    pods = {pod["metadata"]["name"]: pod for pod in await cluster.list("pods", cluster.labels())}
    resident: dict[str, float] = {}
    mails = 0.0
    for service in Service:
        for pod in await cluster.pods(service):
            metrics = await cluster.metrics(pod)
            resident[pod] = metrics.total(RESIDENT)
            mails += metrics.total(MAILS)
    return Size(
        restarts={name: _restarts(pod) for name, pod in pods.items()},
        resident_bytes=resident,
        memory_limits={name: _limit(pods[name]) for name in resident},
        redis_share={name: await _redis_share(cluster, name) for name in ("redis", "cache")},
        waiting=await waiting(rabbit),
        mails=int(mails),
    )


def _restarts(pod: Mapping[str, Any]) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))


_UNITS: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _limit(pod: Mapping[str, Any]) -> float:
    text: str = pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
    return float(text[:-2]) * _UNITS[text[-2:]] if text[-2:] in _UNITS else float(text)


async def _redis_share(cluster: Cluster, component: str) -> float:
    secret = await cluster.secret(f"{cluster.name}-{component}-admin")
    async with AsyncExitStack() as stack:
        target = f"service/{cluster.name}-{component}"
        port = await stack.enter_async_context(cluster.forward(target, REDIS_PORT))
        user, password = (quote(secret[key].decode(), safe="") for key in ("username", "password"))
        uri = f"redis://{user}:{password}@127.0.0.1:{port}/0"
        client: Redis = await stack.enter_async_context(Redis.from_url(uri))
        memory = await client.info("memory")
    return float(memory["used_memory"] / memory["maxmemory"])


async def waiting(rabbit: RabbitManagement) -> int:
    """Return how many messages wait in the queues, without dead letters and parked ones."""
    found = [await rabbit.queue(spec.name) for spec in QUEUES]
    return sum(int(queue.get("messages", 0)) for queue in found)
