"""Commits on the real database: one insert at a time for each room, and in batches.

Run against the AshChat of the current cluster, on its machine:

    .venv/bin/python -m ashchat_e2e.bench.chat.commits

It writes into collections that it drops afterwards, and then results/chat/commits.md and .json.
"""

import asyncio
import json
import os
import platform
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from ashchat_chat.adapters import mongo_bulk
from ashchat_chat.adapters.mongo_bulk import Appends
from ashchat_dev import environment
from ashchat_dev.images import ROOT
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.bench import machine
from ashchat_e2e.bench.chat.load import CannotMeasureError

SECONDS = 3.0
"""How long each measurement takes."""

ROOMS = (1, 8, 100, 500)
"""Rooms that append at the same time, each its next event after the answer to the last."""

WRITERS = (1, 2, 4)
COLLECTION = "bench_events"

Document = dict[str, Any]
Collection = AsyncCollection[Document]


def document(room: int, rev: int) -> Document:
    """Return an event of about 300 bytes."""
    return {
        "room": f"room-{room:05}", "rev": rev, "n": rev, "kind": "message",
        "sender": f"user-{rev % 10}", "client_id": os.urandom(16).hex(),
        "at": datetime.now(UTC), "text": "x" * 100, "language": "en", "targets": ["es"],
    }  # fmt: skip


async def fresh(collection: Collection) -> None:
    """Drop the collection, and create it with the indexes of the logs."""
    await collection.drop()
    await collection.create_index([("room", 1), ("rev", 1)], unique=True)
    await collection.create_index(
        [("room", 1), ("sender", 1), ("client_id", 1)],
        unique=True,
        partialFilterExpression={"client_id": {"$exists": True}},
    )


async def measure(
    collection: Collection, insert: Callable[[Document], Awaitable[object]], rooms: int
) -> dict[str, float]:
    """Let rooms append for some seconds; return the rate and the latencies in milliseconds."""
    await fresh(collection)
    times: list[float] = []
    began = time.monotonic()

    async def append(room: int) -> None:
        rev = 0
        while time.monotonic() - began < SECONDS:
            rev += 1
            started = time.monotonic()
            await insert(document(room, rev))
            times.append(time.monotonic() - started)

    await asyncio.gather(*map(append, range(rooms)))
    took = time.monotonic() - began
    times.sort()
    return {
        "per_second": len(times) / took,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[len(times) * 99 // 100] * 1000,
    }


async def run(collection: Collection) -> list[dict[str, Any]]:
    """Return all measurements."""
    found: list[dict[str, Any]] = []
    for rooms in ROOMS:
        one = await measure(collection, collection.insert_one, rooms)
        found.append({"rooms": rooms, "way": "one by one", **one})
        for writers in WRITERS if rooms > 1 else (1,):
            mongo_bulk.APPEND_WRITERS = writers
            appends = Appends(lambda: collection)
            batched = await measure(collection, appends.insert, rooms)
            found.append({"rooms": rooms, "way": f"batches, {writers} at a time", **batched})
    return found


def page(found: list[dict[str, Any]], facts: dict[str, str]) -> str:
    """Return the page of the results."""
    rows = "\n".join(
        f"| {one['rooms']} | {one['way']} | {one['per_second']:.0f} "
        f"| {one['p50_ms']:.1f} | {one['p99_ms']:.1f} |"
        for one in found
    )
    about = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"""# Commits in batches

```console
$ .venv/bin/python -m ashchat_e2e.bench.chat.commits
```

Rooms append at the same time, each its next event after the answer to the last one, into one
collection with the two unique indexes of the logs. A batch has at most
{mongo_bulk.APPENDS_MAX} events.

| rooms | | events a second | p50 ms | p99 ms |
|---|---|---|---|---|
{rows}

{about}
"""


async def address(cluster: Cluster) -> str:
    """Return chat's connection URI, with the pod's own address: a forwarded port is slower."""
    secret = await cluster.secret(f"{cluster.name}-chat-credentials")
    parts = urlsplit(secret["mongodb.uri"].decode().strip())
    pod = (await cluster.read("pods", (await cluster.pods("mongodb"))[0]))["status"]["podIP"]
    login = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{login}@{pod}:{parts.port or 27017}").geturl()


async def main() -> None:
    """Measure, and write the results."""
    where = environment.load(os.environ, Path.cwd())
    if where.kubeconfig is None:
        raise CannotMeasureError("KUBECONFIG is not set: `make up` first.")
    async with Cluster(where.kubeconfig, kubectl=where.kubectl) as cluster:
        client: AsyncMongoClient[Document] = AsyncMongoClient(
            await address(cluster), directConnection=True, maxPoolSize=50
        )
        collection = client.get_default_database()[COLLECTION]
        try:
            load = os.getloadavg()[0]
            found = await run(collection)
        finally:
            await collection.drop()
            await client.close()
    facts = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "load average before": f"{load:.1f}",
        "machine": f"{machine.cores()} cores, {machine.processor()}",
        "sources": machine.commit(ROOT),
        "Python": platform.python_version(),
        "PyMongo": version("pymongo"),
    }
    folder = ROOT / "results" / "chat"
    folder.mkdir(parents=True, exist_ok=True)
    raw = {"facts": facts, "measurements": found}
    (folder / "commits.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    (folder / "commits.md").write_text(page(found, facts), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
