"""`make bench-auth`: 200 concurrent sign-ins, and whether auth stays responsive.

The load runs on the same machine as the services, as in the small installations that AshChat must
fit on.
"""

import asyncio
import ipaddress
import json
import os
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx2
from rich.console import Console

from ashchat_dev import environment
from ashchat_dev.client import Person, RequestRefusedError
from ashchat_dev.environment import Environment, NotConfiguredError
from ashchat_dev.images import ROOT
from ashchat_dev.kube.api import ApiError, Object
from ashchat_dev.kube.cluster import PRIVATE_PORT, Cluster
from ashchat_dev.kube.kubectl import CommandFailedError
from ashchat_dev.kube.metrics import Metrics
from ashchat_dev.mailbox import Mailbox, NoMailError
from ashchat_e2e.bench import machine, peer
from ashchat_e2e.bench.figures import Lag, Probe, lag_between
from ashchat_e2e.bench.report import Round, Run, SignIn, markdown, table

AT_ONCE = 200
ROUNDS = 5
PEOPLE = 50
"""Each signs in several times at once, because the network's hourly limit counts sign-ups."""

AT_A_TIME = 10
"""Concurrent sign-ups and deletions, which are not measured."""

READY_WITHIN_S = 60.0
REACHED_WITHIN_S = 1.0
IDLE_S = 3.0
TIME_LIMIT_S = 200.0
RESULTS = ROOT / "results" / "auth"


class CannotMeasureError(RuntimeError):
    """The benchmark cannot run here or now; the message says what to do."""


def loopback_only(url: str) -> None:
    """Raise unless the address is local, so that the benchmark cannot load a foreign AshChat.

    Raises:
        CannotMeasureError: The address is not this machine's own.
    """
    host = urlsplit(url).hostname or ""
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = host == "localhost"
    if not own:
        raise CannotMeasureError(f"{url} is not on this machine: the benchmark loads only what is.")


async def sign_up(where: Environment, mailbox: Mailbox, stack: AsyncExitStack) -> list[Person]:
    """Return users who have signed up and signed in.

    Raises:
        RequestRefusedError, NoMailError: A sign-up failed.
    """
    turn = asyncio.Semaphore(AT_A_TIME)
    people = [
        await stack.enter_async_context(Person(where, f"Bench {number}", "en"))
        for number in range(PEOPLE)
    ]

    async def one(person: Person) -> None:
        async with turn:
            await person.register(mailbox)

    await asyncio.gather(*(one(person) for person in people))
    return people


async def delete(people: Sequence[Person]) -> int:
    """Delete the accounts; return how many could not be deleted."""
    turn = asyncio.Semaphore(AT_A_TIME)

    async def one(person: Person) -> bool:
        async with turn:
            reply = await person.auth.request(
                "DELETE", "", json={"password": person.password}, headers=person.headers
            )
            return reply.status == httpx2.codes.NO_CONTENT

    return PEOPLE - sum(await asyncio.gather(*(one(person) for person in people)))


async def one_round(people: Sequence[Person]) -> Round:
    """Let all users sign in concurrently, several times each, on their known devices."""

    async def one(person: Person) -> SignIn:
        began = time.monotonic()
        try:
            status = (await person.signin()).status
        except httpx2.TransportError:
            status = 0
        return SignIn(status, time.monotonic() - began)

    started = time.monotonic()
    sign_ins = await asyncio.gather(*(one(people[n % len(people)]) for n in range(AT_ONCE)))
    return Round(started, time.monotonic(), tuple(sign_ins))


async def ways(cluster: Cluster, pods: Sequence[str], stack: AsyncExitStack) -> dict[str, str]:
    """Return an address of each pod's private port: the pod's own if it is reachable.

    The kubelet probes the pod's own address. From outside the cluster's network a forwarded port is
    used, and then the time in kubectl, the API server and the kubelet is included.

    Raises:
        CommandFailedError: A port could not be forwarded.
    """
    found = {}
    for pod in pods:
        address = (await cluster.read("pods", pod))["status"]["podIP"]
        if await asyncio.to_thread(reachable, address):
            found[pod] = f"{address}:{PRIVATE_PORT}"
        else:
            port = await stack.enter_async_context(cluster.forward(f"pod/{pod}", PRIVATE_PORT))
            found[pod] = f"127.0.0.1:{port}"
    return found


def reachable(address: str) -> bool:
    """Return whether a pod's private port responds at the pod's own address."""
    with suppress(OSError), socket.create_connection((address, PRIVATE_PORT), REACHED_WITHIN_S):
        return True
    return False


@asynccontextmanager
async def asking_for_health(where: Mapping[str, str]) -> AsyncIterator["Answers"]:
    """Probe the pods' private ports continuously from a separate process."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as kept:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ashchat_e2e.bench.health",
            *(f"{pod}={address}" for pod, address in where.items()),
            stdin=asyncio.subprocess.PIPE,
            stdout=kept,
        )
        answers = Answers(process, kept)
        try:
            yield answers
        finally:
            await answers.end()


class Answers:
    """The results of the process that probes the pods' health."""

    def __init__(self, process: asyncio.subprocess.Process, kept: IO[str]) -> None:
        self._process = process
        self._kept = kept

    async def end(self) -> list[Probe]:
        """Stop the process, and return its results."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        self._kept.seek(0)
        return [Probe(**json.loads(line)) for line in self._kept]


async def scrape(cluster: Cluster, pods: Sequence[str]) -> dict[str, tuple[float, Metrics]]:
    """Return the pods' metrics, and when they were read."""
    return {pod: (time.monotonic(), await cluster.metrics(pod)) for pod in pods}


def cores_used(began: float, before: Metrics, ended: float, after: Metrics) -> float:
    """Return how many cores a pod used on average between two scrapes."""
    name = "process_cpu_seconds_total"
    return (after.total(name) - before.total(name)) / (ended - began)


async def containers(cluster: Cluster, pods: Sequence[str]) -> list[Object]:
    """Return the pods' containers, as in their specs."""
    found = [await cluster.read("pods", pod) for pod in pods]
    return [one for pod in found for one in pod["spec"]["containers"]]


async def measure(where: Environment, console: Console) -> Run:
    """Sign users up, let them sign in concurrently, and collect the results.

    Raises:
        CannotMeasureError, RequestRefusedError, NoMailError, ApiError, CommandFailedError,
        TimeoutError, httpx2.HTTPError: The measurement failed.
    """
    loopback_only(where.url)
    if where.kubeconfig is None or not where.kubeconfig.is_file():
        raise CannotMeasureError("KUBECONFIG is not set or not a file: `make up` first.")
    load = os.getloadavg()[0]
    begun_at = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(TIME_LIMIT_S))
        cluster = await stack.enter_async_context(Cluster(where.kubeconfig, kubectl=where.kubectl))
        mailbox = await stack.enter_async_context(Mailbox(where.mailbox_url))
        await _ready(cluster)
        pods = await cluster.pods("auth")
        if not pods:
            raise CannotMeasureError("No pod of auth is ready: `make status` says why.")
        running = await containers(cluster, pods)
        alone = [await asyncio.to_thread(peer.verifications_per_second)]
        console.print(f"{PEOPLE} people sign up …", style="dim")
        people = await sign_up(where, mailbox, stack)
        console.print(f"{ROUNDS} times {AT_ONCE} sign-ins at once …", style="dim")
        try:
            asked = await ways(cluster, pods, stack)
            async with asking_for_health(asked) as answers:
                idle = (time.monotonic(), time.monotonic() + IDLE_S)
                await asyncio.sleep(IDLE_S)  # the idle phase has a fixed length
                before = await scrape(cluster, pods)
                rounds = [await one_round(people) for _ in range(ROUNDS)]
                if await cluster.pods("auth") != pods:
                    raise CannotMeasureError(
                        "A pod of auth was replaced during the measurement: run it again."
                    )
                after = await scrape(cluster, pods)
                probes = await answers.end()
        finally:
            left = await delete(people)
        if left:
            console.print(f"{left} accounts could not be deleted.", style="yellow")
        alone.append(await asyncio.to_thread(peer.verifications_per_second))
        kubernetes = (await cluster.get("/version"))["gitVersion"]
    lags: list[Lag | None] = [
        lag_between(pod, before[pod][1], after[pod][1], after[pod][0] - before[pod][0])
        for pod in pods
    ]
    built = {
        one["version"]
        for _, metrics in after.values()
        for one in metrics.labels("ashchat_build_info")
    }
    return Run(
        begun_at=begun_at.isoformat(timespec="seconds"),
        at_once=AT_ONCE,
        people=PEOPLE,
        idle=idle,
        rounds=tuple(rounds),
        probes=tuple(probes),
        lags=tuple(lag for lag in lags if lag is not None),
        pods=tuple(pods),
        asked=tuple(sorted(asked.values())),
        alone=tuple(alone),
        hashing=peer.parameters(),
        cores=machine.cores(),
        processor=machine.processor(),
        load_before=load,
        versions={
            "auth": ", ".join(sorted(built)),
            **machine.versions(ROOT),
            "Kubernetes": kubernetes,
        },
        images=tuple(sorted({one["image"] for one in running})),
        cpu_requests=tuple(
            one["resources"].get("requests", {}).get("cpu", "none") for one in running
        ),
        cpu_used=sum(cores_used(*before[pod], *after[pod]) for pod in pods),
    )


async def _ready(cluster: Cluster) -> None:
    try:
        await cluster.wait_ready(within=READY_WITHIN_S)
        await cluster.wait_former_gone("auth", within=READY_WITHIN_S)
    except AssertionError as error:
        raise CannotMeasureError(str(error)) from None


def write(run: Run, folder: Path = RESULTS) -> Path:
    """Write the raw data and the page; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sign-in.json").write_text(json.dumps(run.raw(), indent=1) + "\n", encoding="utf-8")
    page = folder / "sign-in.md"
    page.write_text(markdown(run), encoding="utf-8")
    return page


def main() -> int:
    """Run the benchmark; return the exit code: 0 measured, 1 sign-ins failed, 2 not measured."""
    console = Console(highlight=False, width=80)
    complain = Console(stderr=True, highlight=False, width=80)
    try:
        where = environment.load(os.environ, Path.cwd())
        run = asyncio.run(measure(where, console))
    except (
        CannotMeasureError,
        NotConfiguredError,
        RequestRefusedError,
        NoMailError,
        ApiError,
        CommandFailedError,
        TimeoutError,
        httpx2.HTTPError,
    ) as error:
        complain.print(str(error) or type(error).__name__, style="red", markup=False)
        return 2
    page = write(run)
    console.print(table(run))
    console.print(
        f"Written to {page.relative_to(ROOT)}, with the raw data next to it.", style="dim"
    )
    statuses = Counter(one.status for each in run.rounds for one in each.sign_ins)
    refused = {status: count for status, count in statuses.items() if status != httpx2.codes.OK}
    if refused:
        complain.print(f"Sign-ins that failed, by status: {refused}", style="red")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
