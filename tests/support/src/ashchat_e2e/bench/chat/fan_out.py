"""The fan-out between pods on the real Redis: delay, processor time, memory of the streams.

Run against the AshChat of the current cluster, on its machine:

    .venv/bin/python -m ashchat_e2e.bench.chat.fan_out

One process is three pods: the first publishes, all read. It uses separate keys, which it
deletes, and writes results/chat/fan-out.md and .json.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ashchat_chat.adapters import redis_streams
from ashchat_chat.adapters.redis_streams import RedisStreams
from ashchat_chat.rooms.events import Sent
from ashchat_chat.rooms.ports import Publication
from ashchat_core.credentials import Credentials
from ashchat_core.redis import Redis
from ashchat_dev import environment
from ashchat_dev.images import ROOT
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.bench import machine
from ashchat_e2e.bench.chat.load import CannotMeasureError

SECONDS = 4.0
RATES = (200, 2_000)
TEXTS = (100, 1_800)
PODS = 3
ROOMS = 500
MEMBERS = ("0123456789abcdef01234567", "0123456789abcdef01234568")
PREFIX = "chat:bench:"


@dataclass
class Receiver:
    """A pod's rooms: notes when each event arrives."""

    sent: dict[int, float]
    delays: list[float] = field(default_factory=list)
    missed_times: int = 0

    def heard(self, publication: Publication) -> None:
        """Note the delay."""
        self.delays.append(time.monotonic() - self.sent[publication.rev])

    def missed(self, concerns: Callable[[str], bool]) -> None:
        """Count."""
        del concerns
        self.missed_times += 1


def event(number: int, characters: int = 100) -> Sent:
    """Return a message."""
    return Sent(
        room=f"{number % ROOMS:032x}", rev=number + 1, n=number + 1, at=datetime.now(UTC),
        sender=MEMBERS[0], client_id=f"{number:032x}", text="x" * characters, language="en",
        targets=("es",),
    )  # fmt: skip


async def connect(cluster: Cluster, folder: Path) -> None:
    """Write chat's Redis login, with the address of the pod and a separate prefix."""
    secret = await cluster.secret(f"{cluster.name}-chat-credentials")
    parts = urlsplit(secret["redis.uri"].decode().strip())
    pod = (await cluster.read("pods", (await cluster.pods("redis"))[0]))["status"]["podIP"]
    login = parts.netloc.rpartition("@")[0]
    uri = parts._replace(netloc=f"{login}@{pod}:6379", query=f"prefix={PREFIX}").geturl()
    (folder / "redis.uri").write_text(uri, encoding="utf-8")


async def clear(redis: Redis) -> None:
    """Delete every key of this benchmark."""
    names = [f"{redis_streams.STREAM_PREFIX}{number}" for number in range(redis_streams.STREAMS)]
    names += [redis_streams.PODS_KEY, redis_streams.EPOCH_KEY, redis_streams.CLOCK_KEY, "full"]
    await redis.client.delete(*map(redis.key, names))


async def delays(folder: Path, rate: int) -> dict[str, Any]:
    """Publish at a rate; return the delays on the other pods."""
    sent: dict[int, float] = {}
    receivers = [Receiver(sent) for _ in range(PODS)]
    redis = Redis(Credentials(folder))
    pods = [
        RedisStreams(redis, pod=f"pod-{number}", listener=lambda one=one: one)  # type: ignore[misc]
        for number, one in enumerate(receivers)
    ]
    tasks = [
        asyncio.create_task(run())
        for pod in pods
        for run in (pod.run_reader, pod.run_publisher, pod.run_heartbeat)
    ]
    await asyncio.sleep(1.5)
    used, began, number = time.process_time(), time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < SECONDS:
        while number < elapsed * rate:
            sent[number + 1] = time.monotonic()
            pods[0].publish(event(number), MEMBERS)
            number += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(1.0)
    used = time.process_time() - used
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await clear(redis)
    await redis.close()
    found = sorted(delay for one in receivers[1:] for delay in one.delays)
    return {
        "events_per_second": rate,
        "published": number,
        "received": [len(one.delays) for one in receivers[1:]],
        "missed": [one.missed_times for one in receivers],
        "p50_ms": found[len(found) // 2] * 1000,
        "p99_ms": found[len(found) * 99 // 100] * 1000,
        "cpu_us": used / number * 1e6,
    }


async def memory(folder: Path, characters: int) -> dict[str, Any]:
    """Fill a stream; return what it needs after it was trimmed."""
    redis = Redis(Credentials(folder))
    client: Any = redis.client  # the library types no raw commands
    key = redis.key("full")
    for number in range(3 * redis_streams.ENTRIES_MAX):
        one = event(number, characters)
        await client.execute_command(
            "XADD", key, "*", "by", "demo-chat-559844b4d7-mt6jq/0a1b2c3d", "room", one.room,
            "rev", one.rev, "members", " ".join(MEMBERS), "event", one.model_dump_json(),
        )  # fmt: skip
    await client.execute_command("XTRIM", key, "MAXLEN", "~", redis_streams.ENTRIES_MAX)
    entries = await redis.client.xlen(key)
    used = await client.execute_command("MEMORY", "USAGE", key, "SAMPLES", "0")
    await clear(redis)
    await redis.close()
    return {"characters": characters, "entries": entries, "bytes": used}


def page(raw: dict[str, Any]) -> str:
    """Return the page of the results."""
    rates = "\n".join(
        f"| {one['events_per_second']} | {one['published']} | {min(one['received'])} "
        f"| {one['p50_ms']:.1f} | {one['p99_ms']:.1f} | {one['cpu_us']:.0f} |"
        for one in raw["delays"]
    )
    memories = "\n".join(
        f"| {one['characters']} | {one['entries']} | {one['bytes']} "
        f"| {redis_streams.STREAMS * one['bytes'] / 2**20:.1f} MiB |"
        for one in raw["memory"]
    )
    about = "\n".join(f"- {name}: {value}" for name, value in raw["facts"].items())
    return f"""# Fan-out between pods

```console
$ .venv/bin/python -m ashchat_e2e.bench.chat.fan_out
```

One process is three pods, one of which publishes; the time is from `publish` to the other pods'
rooms. The processor time is that of all three.

| events a second | published | received | p50 ms | p99 ms | µs an event |
|---|---|---|---|---|---|
{rates}

| characters of a message | entries of a full stream | bytes | {redis_streams.STREAMS} streams |
|---|---|---|---|
{memories}

{about}
"""


async def main() -> None:
    """Measure, and write the results."""
    where = environment.load(os.environ, Path.cwd())
    if where.kubeconfig is None:
        raise CannotMeasureError("KUBECONFIG is not set: `make up` first.")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Cluster(where.kubeconfig, kubectl=where.kubectl) as cluster:
            await connect(cluster, folder)
        raw: dict[str, Any] = {
            "delays": [await delays(folder, rate) for rate in RATES],
            "memory": [await memory(folder, characters) for characters in TEXTS],
        }
    raw["facts"] = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "load average before": f"{load:.1f}",
        "machine": f"{machine.cores()} cores, {machine.processor()}",
        "sources": machine.commit(ROOT),
    }
    folder = ROOT / "results" / "chat"
    (folder / "fan-out.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    (folder / "fan-out.md").write_text(page(raw), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
