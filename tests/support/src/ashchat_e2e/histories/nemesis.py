"""Faults, each injected and healed again, while clients of rooms go on."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.backends import redis_admin_uri
from ashchat_e2e.container_runtime import Runtime
from ashchat_e2e.histories.link import Link, State

HELD_S: Final = 6.0
"""How long a fault lasts that does not end by itself: longer than a client waits for an answer."""

READY_S: Final = 120.0
POSTGRES: Final = "postgresql"
"""The container of the MongoDB pod that stores what FerretDB is sent."""


@dataclass(frozen=True, slots=True)
class Place:
    """What faults are injected into."""

    cluster: Cluster
    runtime: Runtime
    links: Sequence[Link]
    draw: random.Random

    async def pod(self, component: str) -> dict[str, Any]:
        """Return one of a component's ready pods."""
        return await self.cluster.read("pods", self.draw.choice(await self.pods(component)))

    async def pods(self, component: str) -> list[str]:
        """Return a component's ready pods, once there is one."""
        return await until(
            lambda: self.cluster.pods(component), within=READY_S, what=f"a pod of {component}"
        )


Fault = Callable[[Place], Awaitable[None]]


async def kill_a_chat_pod(place: Place) -> None:
    """Kill a chat pod's process with SIGKILL."""
    pod = await place.pod("chat")
    await place.runtime.kill(pod)
    # Replaced rather than restarted: a container that is killed again and again is backed off.
    await place.cluster.delete("pods", pod["metadata"]["name"], now=True)
    await place.pods("chat")


def kill(component: str) -> Fault:
    """Return a fault: a backend is killed, and replaced."""

    async def killed(place: Place) -> None:
        await place.pods(component)
        await place.cluster.kill(component)
        await place.pods(component)

    killed.__name__ = f"kill_{component}"
    return killed


def freeze(component: str) -> Fault:
    """Return a fault: a process does nothing for some time, and its connections stay open."""

    async def frozen(place: Place) -> None:
        pod = await place.pod(component)
        await place.runtime.freeze(pod)
        try:
            await asyncio.sleep(HELD_S)
        finally:
            await place.runtime.thaw(pod)

    frozen.__name__ = f"freeze_{component}"
    return frozen


async def cut_connections(place: Place) -> None:
    """Break the clients' connections."""
    for link in place.links:
        link.cut()


def connections(state: State) -> Fault:
    """Return a fault: half of the clients' connections are in a state for some time."""

    async def impaired(place: Place) -> None:
        chosen = place.draw.sample(place.links, max(1, len(place.links) // 2))
        for link in chosen:
            link.be(state)
        try:
            await asyncio.sleep(HELD_S)
        finally:
            for link in chosen:
                link.be(State.OPEN)

    impaired.__name__ = f"{state.value}_connections"
    return impaired


async def full_redis(place: Place) -> None:
    """Let Redis answer every write with an error, as when its memory is used up."""
    async with _redis(place.cluster) as redis:
        former = str((await redis.config_get("maxmemory"))["maxmemory"])
        await redis.config_set("maxmemory", "1")
        try:
            await asyncio.sleep(HELD_S)
        finally:
            await redis.config_set("maxmemory", former)


async def read_only_mongodb(place: Place) -> None:
    """Let MongoDB answer every write with an error, as when its disk has failed."""
    pod = (await place.pods("mongodb"))[0]
    await _psql(place.cluster, pod, "ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        await asyncio.sleep(HELD_S)
    finally:
        await _psql(place.cluster, pod, "ALTER SYSTEM RESET default_transaction_read_only")


async def _psql(cluster: Cluster, pod: str, statement: str) -> None:
    commands = ("SET default_transaction_read_only = off", statement, "SELECT pg_reload_conf()")
    await cluster.exec(
        pod,
        *("psql", "--username=ashchat", "--dbname=postgres", "--set=ON_ERROR_STOP=1"),
        # One transaction each: ALTER SYSTEM must be alone in its own.
        *(f"--command={command}" for command in commands),
        container=POSTGRES,
    )


@asynccontextmanager
async def _redis(cluster: Cluster) -> AsyncIterator[Redis]:
    async with (
        AsyncExitStack() as stack,
        Redis.from_url(await redis_admin_uri(cluster, stack), decode_responses=True) as client,
    ):
        yield client


FAULTS: Final[tuple[Fault, ...]] = (
    kill_a_chat_pod,
    kill("redis"),
    cut_connections,
    read_only_mongodb,
    freeze("chat"),
    kill("mongodb"),
    connections(State.HALF_OPEN),
    full_redis,
    kill("rabbitmq"),
    connections(State.SLOW),
    freeze("redis"),
    connections(State.CLOSED),
)


async def torment(place: Place, faults: Sequence[Fault], pause_s: float) -> None:
    """Inject and heal each fault, with a pause behind it."""
    for fault in faults:
        await fault(place)
        await asyncio.sleep(pause_s)
