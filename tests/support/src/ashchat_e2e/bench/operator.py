"""make bench-operator: how fast the operator is, and how little it does if nothing changed.

The parts are independent; `PARTS` lists them in order. Conditions are polled every few tens of
milliseconds, so a figure is too long by that much at most.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2
from rich.console import Console

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import API_VERSION, Label
from ashchat_dev import environment
from ashchat_dev.environment import Environment, NotConfiguredError
from ashchat_dev.images import ROOT
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.bench import floor, machine
from ashchat_e2e.bench.operator_report import Figure, Report, markdown, table
from ashchat_e2e.container_runtime import Runtime
from ashchat_e2e.external_servers import Outside
from ashchat_e2e.operator_pods import all_ready, configured, kill_leader, own_metrics, reconciled
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.rotation import KINDS, over, rotate, short_lives
from ashchat_e2e.temporary_namespace import gone, namespace
from ashchat_e2e.traffic import traffic

RESULTS: Final = ROOT / "results" / "operator"
EVERY_S: Final = 0.05

FLOOR: Final = "ashchat-bench-floor"
WHOLE, EMPTY, MANY = "ashchat-bench", "ashchat-bench-outside", 100
DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{EMPTY}/deployments"
DEPLOYMENTS_EACH: Final = 6
"""Five services and Apertium; the built-in edge is left out."""

APPLIES: Final = 5
NO_OPS: Final = 5
DRIFTS: Final = 60
FAILOVERS: Final = 5
SOAK_EVERY_S: Final = 15.0
BACKENDS: Final = ("rabbitmq", "redis", "cache", "mongodb")

Object = dict[str, Any]
Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Bench:
    """What all parts share."""

    cluster: Cluster
    where: Environment
    mailbox: Mailbox
    console: Console
    soak_s: float


def ashchat(name: str, **spec: Any) -> Object:
    """Return an AshChat that uses the mailbox of `make up`."""
    smtp = {"host": "mailpit.mailpit.svc", "port": 1025, "security": "None", "from": "a@test"}
    return {
        "apiVersion": API_VERSION,
        "kind": "AshChat",
        "metadata": {"name": name},
        "spec": {"email": {"smtp": smtp}, **spec},
    }


async def applies(bench: Bench) -> Samples:
    """The time from apply to Ready, with images present, and the operator's share of it.

    The operator's share: until the last workload is written; from the last backend being ready to
    the topology being declared; from the last of these to Ready.
    """
    whole, own_part, *parts = names = (
        "apply → Ready",
        "of it the operator's own",
        "of this, until all is written",
        "of this, declaring",
        "of this, telling",
    )
    found: Samples = {name: [] for name in names}
    engine = (await bench.cluster.resource())["spec"]["mongodb"]["managed"]["engine"]
    for number in range(APPLIES):
        bench.console.print(f"apply → Ready, {number + 1} of {APPLIES} …", style="dim")
        async with namespace(bench.cluster, WHOLE, pods=True) as own:
            began = time.monotonic()
            await own.create(
                "ashchats",
                ashchat(
                    "demo",
                    exposure={"type": "Edge", "edge": {"serviceType": "ClusterIP"}},
                    mongodb={"managed": {"engine": engine}},
                    # A two-core node cannot fit another 200m next to the first one.
                    auth={"resources": {"requests": {"cpu": "20m"}}},
                ),
            )
            marks = await _marks(own)
            found[whole].append(marks["Ready"] - began)
            written = marks["written"] - began
            declared = max(0.0, marks["declared"] - marks["backends"])
            told = max(0.0, marks["Ready"] - max(marks["ready"], marks["declared"]))
            found[own_part].append(written + declared + told)
            for part, seconds in zip(parts, (written, declared, told), strict=True):
                found[part].append(seconds)
    return found


async def _marks(own: Cluster) -> dict[str, float]:
    """Return when each milestone was first seen."""
    marks: dict[str, float] = {}
    names: set[str] = set()
    ready: set[str] = set()

    def mark(name: str) -> None:
        marks.setdefault(name, time.monotonic())

    async def done() -> bool:
        body, deployments, stateful = await asyncio.gather(
            own.resource(), own.list("deployments"), own.list("statefulsets")
        )
        workloads = {x["metadata"]["name"]: x for x in (*deployments, *stateful)}
        if workloads.keys() - names:
            names.update(workloads)
            marks["written"] = time.monotonic()
        fresh = {
            name
            for name, x in workloads.items()
            if x["status"].get("readyReplicas", 0) >= x["spec"]["replicas"]
        }
        if fresh - ready:
            ready.update(fresh)
            marks["ready"] = time.monotonic()
        if {f"demo-{backend}" for backend in BACKENDS} <= ready:
            mark("backends")
        states = {x["type"]: x["status"] for x in body.get("status", {}).get("conditions", [])}
        if states.get(ConditionType.TOPOLOGY_READY) == "True":
            mark("declared")
        if states.get("Ready") == "True":
            mark("Ready")
        return "Ready" in marks

    await until(done, within=300, every=EVERY_S, what="Ready")
    return marks


async def no_ops(bench: Bench) -> Samples:
    """Reads and writes of a reconcile pass that has nothing to do."""
    await bench.cluster.wait_ready(within=120)
    await reconciled(bench.cluster, 2)

    async def counts() -> tuple[float, float, float]:
        metrics = await own_metrics(bench.cluster)
        reads = sum(
            metrics.value("ashchat_operator_api_requests_total", **labels)
            for labels in metrics.labels("ashchat_operator_api_requests_total")
            if labels["verb"] == "get" and labels["kind"] != "Lease"
        )
        return (
            reads,
            metrics.total("ashchat_operator_writes_total"),
            metrics.total("ashchat_operator_reconcile_total", result="success"),
        )

    found: Samples = {"reads of a no-op": [], "writes of a no-op": []}
    for _ in range(NO_OPS):
        before = await counts()
        await reconciled(bench.cluster)
        after = await counts()
        passes = after[2] - before[2]
        found["reads of a no-op"].append((after[0] - before[0]) / passes)
        found["writes of a no-op"].append((after[1] - before[1]) / passes)
    return found


async def many(bench: Bench) -> Samples:
    """A hundred AshChats with external backends and no replicas: only the operator works."""
    outside = Outside(bench.cluster, EMPTY)
    found: Samples = {}
    try:
        await outside.begin()
        await outside.up()
        found[f"{MANY} AshChats' objects without an operator"] = [await _floor(bench)]
        before, busy = await _memory(bench.cluster), await _cpu(bench.cluster)
        bench.console.print(f"{MANY} AshChats …", style="dim")
        began = time.monotonic()
        for start in range(0, MANY, 20):
            await asyncio.gather(
                *(
                    bench.cluster.create("ashchats", _outside(f"n{number}"), namespace=EMPTY)
                    for number in range(start, start + 20)
                )
            )
        created = time.monotonic()

        async def applied() -> bool:
            # Deployments are created last. One is read and the rest counted: listing all of them
            # repeatedly would cost the API server more time than what is measured.
            found = await bench.cluster.get(DEPLOYMENTS, limit="1")
            left = found["metadata"].get("remainingItemCount", 0)
            return len(found["items"]) + int(left) >= MANY * DEPLOYMENTS_EACH

        await until(applied, within=300, every=0.2, what="all AshChats applied")
        found[f"{MANY} AshChats created"] = [created - began]
        found[f"{MANY} AshChats applied"] = [time.monotonic() - began]
        found["operator's processor time meanwhile"] = [await _cpu(bench.cluster) - busy]

        async def unready() -> int:
            items = await bench.cluster.list("ashchats", namespace=EMPTY)
            return sum(not _ready(item) for item in items)

        async def ready() -> bool:
            return await unready() == 0

        with contextlib.suppress(AssertionError):  # the count below shows it
            await until(ready, within=600, every=1, what="all AshChats Ready")
            found[f"{MANY} AshChats Ready"] = [time.monotonic() - began]
        found["of them not Ready"] = [float(await unready())]
        found["operator's memory before, MiB"] = [before]
        found["operator's memory with them, MiB"] = await _soak(bench)
    finally:
        await _leave(bench.cluster)
    return found


def _outside(name: str) -> Object:
    def external(server: str, users: str = "Declare") -> Object:
        return {
            "external": {
                "connectionSecretRef": {"name": server},
                "tls": {"caSecretRef": {"name": "authority"}},
                "prefix": f"{name}-",
                "users": users,
            }
        }

    none = {"replicas": 0}
    body = ashchat(
        name,
        exposure={"type": "None"},
        auth=none,
        chat=none,
        static=none,
        rabbitmq=external("rabbitmq"),
        redis=external("redis"),
        # FerretDB supports at most a hundred users in total.
        mongodb=external("mongodb", "Provided"),
    )
    body["spec"]["translate"] = {"apertium": none, "cache": external("redis"), **none}
    body["spec"]["email"] |= none
    return body


def _ready(body: Object) -> bool:
    return any(
        item["type"] == "Ready" and item["status"] == "True"
        for item in body.get("status", {}).get("conditions", [])
    )


async def _floor(bench: Bench) -> float:
    """Return how long the API server takes for the same objects without an operator."""
    bench.console.print("their objects, without an operator …", style="dim")
    await bench.cluster.create("ashchats", _outside("pattern"), namespace=EMPTY)

    async def ready() -> bool:
        return _ready(await bench.cluster.read("ashchats", "pattern", namespace=EMPTY))

    await until(ready, within=120, every=0.2, what="one AshChat Ready")
    objects = await floor.pattern(bench.cluster, "pattern", EMPTY)
    await bench.cluster.delete("ashchats", "pattern", namespace=EMPTY)

    async def unmade() -> bool:
        labels: dict[str, str] = {Label.INSTANCE: "pattern"}
        return not await bench.cluster.list("deployments", labels, namespace=EMPTY)

    await until(unmade, within=60, every=0.2, what="the pattern deleted")
    await bench.cluster.create("namespaces", {"metadata": {"name": FLOOR}})
    try:
        return await floor.make(bench.cluster, objects, MANY, FLOOR)
    finally:
        await bench.cluster.delete("namespaces", FLOOR)
        await gone(bench.cluster, "namespaces", FLOOR, within=300)


async def _soak(bench: Bench) -> list[float]:
    """Return samples of the operator's memory over the requested period."""
    samples = []
    ends = time.monotonic() + bench.soak_s
    bench.console.print(f"their memory, for {bench.soak_s / 60:.0f} minutes …", style="dim")
    while True:
        samples.append(await _memory(bench.cluster))
        if time.monotonic() >= ends:
            return samples
        await asyncio.sleep(SOAK_EVERY_S)


async def _memory(cluster: Cluster) -> float:
    """Return the leader's resident memory in MiB."""
    return (await own_metrics(cluster)).total("process_resident_memory_bytes") / 2**20


async def _cpu(cluster: Cluster) -> float:
    """Return the processor time that the leader has used, in seconds."""
    return (await own_metrics(cluster)).total("process_cpu_seconds_total")


async def _leave(cluster: Cluster) -> None:
    for item in await cluster.list("ashchats", namespace=EMPTY):
        await cluster.delete("ashchats", item["metadata"]["name"], namespace=EMPTY)

    async def none() -> bool:
        return not await cluster.list("ashchats", namespace=EMPTY)

    await until(none, within=300, every=1, what="the AshChats deleted")
    await cluster.delete("namespaces", EMPTY)


async def drifts(bench: Bench) -> Samples:
    """The time from a deletion by hand until the object exists again."""
    cluster = bench.cluster
    found: list[float] = []
    chosen = [
        (kind, item)
        for kind in ("configmaps", "services", "secrets", "networkpolicies")
        for item in await cluster.list(kind, cluster.labels())
        if item["metadata"].get("ownerReferences")
    ]
    for number in range(DRIFTS):
        kind, item = chosen[number % len(chosen)]
        name, uid = item["metadata"]["name"], item["metadata"]["uid"]
        began = time.monotonic()
        await cluster.delete(kind, name)

        async def recreated(kind: str = kind, name: str = name, uid: str = uid) -> Object | None:
            now = await cluster.find(kind, name)
            return now if now is not None and now["metadata"]["uid"] != uid else None

        chosen[number % len(chosen)] = (
            kind,
            await until(recreated, within=60, every=EVERY_S, what=f"{kind} {name} re-created"),
        )
        found.append(time.monotonic() - began)
    await cluster.wait_ready(within=120)
    return {"drift repaired": found}


async def failovers(bench: Bench) -> Samples:
    """The leader is killed with its pod (kill -9): until the other has repaired something."""
    runtime, cluster, found = Runtime(os.environ.get("CLUSTER", "")), bench.cluster, []
    await configured(cluster, {"replicas": 2})
    try:
        for _ in range(FAILOVERS):
            await all_ready(cluster, 2)
            item = (await cluster.list("configmaps", cluster.labels("rabbitmq")))[0]["metadata"]
            began = time.monotonic()
            await kill_leader(cluster, runtime)
            await cluster.delete("configmaps", item["name"])

            async def recreated(item: Object = item) -> bool:
                now = await cluster.find("configmaps", item["name"])
                return now is not None and now["metadata"]["uid"] != item["uid"]

            await until(recreated, within=60, every=EVERY_S, what="re-created by the other")
            found.append(time.monotonic() - began)
    finally:
        await configured(cluster, {"replicas": 1})
    return {"failover, kill -9": found}


async def rotations(bench: Bench) -> Samples:
    """Rotations of every kind while users sign up, sign in and exchange translated messages."""
    cluster, found = bench.cluster, Samples()
    factory = PersonFactory(bench.where, bench.mailbox)
    try:
        async with short_lives(cluster), traffic(factory, bench.mailbox) as seen:
            for kind in KINDS:
                bench.console.print(f"rotation of {kind} under load …", style="dim")
                began = time.monotonic()
                await over(cluster, await rotate(cluster, kind), (kind,), within=600)
                found[f"rotation of {kind}"] = [time.monotonic() - began]
            found["requests meanwhile"] = [float(seen.done.total())]
            found["failed requests"] = [float(len(seen.failed))]
            found["lost sockets"] = [float(seen.reconnects)]
    finally:
        for person in factory.made:
            await person.close()
    return found


PARTS: Final[Sequence[Callable[[Bench], Awaitable[Samples]]]] = (
    no_ops,
    drifts,
    failovers,
    rotations,
    applies,
    many,
)


async def measure(where: Environment, console: Console, soak_s: float) -> Report:
    """Run every part, one after the other.

    Raises:
        NotConfiguredError, ApiError, AssertionError, httpx2.HTTPError: The measurement failed.
    """
    if where.kubeconfig is None:
        raise NotConfiguredError("KUBECONFIG is not set: `make up` first.")
    only = os.environ.get("ONLY", "").split()
    begun_at, load, samples = datetime.now(UTC), os.getloadavg()[0], Samples()
    failed: list[str] = []
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(where.kubeconfig, kubectl=where.kubectl))
        mailbox = await stack.enter_async_context(Mailbox(where.mailbox_url))
        await cluster.wait_ready(within=120)
        bench = Bench(cluster, where, mailbox, console, soak_s)
        for part in PARTS:
            if not only or part.__name__ in only:
                console.print(f"{(part.__doc__ or '').splitlines()[0]}", style="bold")
                try:
                    samples |= await part(bench)
                except (ApiError, AssertionError, ExceptionGroup, httpx2.HTTPError) as error:
                    # The other parts are still worth measuring.
                    console.print(f"failed: {error}", style="red", markup=False)
                    failed.append(f"{part.__name__}: {type(error).__name__}")
        kubernetes = (await cluster.get("/version"))["gitVersion"]
        built = (await own_metrics(cluster)).labels("ashchat_operator_build_info")
    return Report(
        begun_at=begun_at.isoformat(timespec="seconds"),
        figures=tuple(Figure(name, tuple(values)) for name, values in samples.items()),
        cores=machine.cores(),
        processor=machine.processor(),
        load_before=load,
        versions={
            "operator": ", ".join(sorted(x["version"] for x in built)),
            **machine.versions(ROOT),
            "Kubernetes": kubernetes,
        },
        soak_minutes=soak_s / 60,
        failed=tuple(failed),
    )


def write(report: Report, folder: Path = RESULTS) -> Path:
    """Write the raw data and the page; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = json.dumps(report.raw(), indent=1) + "\n"
    (folder / "operator.json").write_text(raw, encoding="utf-8")
    page = folder / "operator.md"
    page.write_text(markdown(report), encoding="utf-8")
    return page


def main() -> int:
    """Run the benchmark; return the exit code: 0 all targets met, 1 missed, 2 not measured."""
    console = Console(highlight=False, width=80)
    complain = Console(stderr=True, highlight=False, width=80)
    try:
        where = environment.load(os.environ, Path.cwd())
        soak_s = float(os.environ.get("SOAK_MINUTES", "30")) * 60
        report = asyncio.run(measure(where, console, soak_s))
    except (NotConfiguredError, ApiError, AssertionError, ValueError, httpx2.HTTPError) as error:
        complain.print(str(error) or type(error).__name__, style="red", markup=False)
        return 2
    console.print(table(report))
    if os.environ.get("ONLY"):
        console.print("Not written: only a part was measured.", style="dim")
        return 0
    page = write(report)
    console.print(
        f"Written to {page.relative_to(ROOT)}, with the raw data next to it.", style="dim"
    )
    return 0 if report.all_met else 1


if __name__ == "__main__":
    sys.exit(main())
