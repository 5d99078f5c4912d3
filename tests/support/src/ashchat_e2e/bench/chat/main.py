"""`make bench-chat`: broadcasts, idle sockets and slow readers, of chat and its peers.

Everything is on loopback: each server on one core, the generator and the backends on another.
ONLY=peers,idle,service chooses parts.
"""

import asyncio
import json
import os
import platform
import secrets
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ashchat_dev import environment
from ashchat_dev.environment import NotConfiguredError
from ashchat_dev.images import ROOT
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.kube.kubectl import CommandFailedError
from ashchat_e2e.bench import machine
from ashchat_e2e.bench.chat import report, scenarios, service
from ashchat_e2e.bench.chat.load import CannotMeasureError, Client, Load, build
from ashchat_e2e.bench.chat.scenarios import IDLE_SOCKETS, RECEIVERS, quiet
from ashchat_e2e.bench.chat.servers import peers, started

RESULTS: Final = ROOT / "results" / "chat"
PARTS: Final = ("peers", "idle", "service")
SENDERS: Final = 20
LOADS: Final = scenarios.TRIES * len(scenarios.RATES) + 2
"""Loads of the service at most: the ladder, and with and without slow readers."""

IDLE_PEER_SOCKETS: Final = 4_000
TIME_LIMIT_SECONDS: Final = 1_800.0
Found = dict[str, Any]


def chosen() -> frozenset[str]:
    """Return the parts to measure.

    Raises:
        CannotMeasureError: There is no such part.
    """
    wanted = frozenset(filter(None, os.environ.get("ONLY", "").split(","))) or frozenset(PARTS)
    if not wanted <= frozenset(PARTS):
        raise CannotMeasureError(f"ONLY is a list of {', '.join(PARTS)}.")
    return wanted


async def compare(programs: Path, parts: frozenset[str], found: Found, console: Console) -> None:
    """Measure the socket layer and the peers."""
    generator = programs / "generator"
    servers, found["left_out"] = peers(programs)
    for server in servers:
        clients = [
            Client(query=server.query, sends=number < SENDERS) for number in range(RECEIVERS)
        ]
        found["versions"][server.name] = server.version
        if "peers" in parts:
            console.print(f"{server.name}: broadcast …", style="dim")
            async with quiet(), started(server) as running:
                found["broadcast"] += await scenarios.ladder(generator, running, clients.copy)
            write(found)
        if "idle" in parts:
            console.print(f"{server.name}: idle sockets …", style="dim")
            quantity = [Client(query=server.query) for _ in range(IDLE_PEER_SOCKETS)]
            async with quiet(), started(server) as running:
                found["idle"].append(await scenarios.idle(generator, running, quantity))
            write(found)


async def measure_service(
    where: environment.Environment, programs: Path, folder: Path, found: Found, console: Console
) -> None:
    """Measure the chat service on real backends.

    Raises:
        CannotMeasureError: There is no AshChat whose backends could be used.
    """
    if where.kubeconfig is None or not where.kubeconfig.is_file():
        raise CannotMeasureError("KUBECONFIG is not set or not a file: `make up` first.")
    generator = programs / "generator"
    crowds = [_users(RECEIVERS) for _ in range(LOADS)]
    many = _users(IDLE_SOCKETS)
    pairs = [many[start : start + 2] for start in range(0, len(many), 2)]
    rooms = [*((f"room{n}", users) for n, users in enumerate(crowds)), *((p[0], p) for p in pairs)]
    async with (
        Cluster(where.kubeconfig, kubectl=where.kubectl) as cluster,
        service.prepared(cluster, folder) as chat,
    ):
        await chat.fill(rooms)
        # Users count as online for a while after their sockets: each load has others.
        numbers = iter(range(LOADS))

        def crowd() -> list[Client]:
            number = next(numbers)
            room = (f"chat:room{number}",)
            return chat.clients(crowds[number], [room] * RECEIVERS, len(crowds[number]))

        console.print("chat: idle sockets …", style="dim")
        topics = [
            (f"chat:{pairs[number % len(many) // 2][0]}", "notifications:USER")
            for number in range(IDLE_SOCKETS)
        ]
        async with quiet(), started(chat.server) as running:
            quantity = chat.clients(many, topics, 0)
            found["idle"].append(await scenarios.idle(generator, running, quantity))
        write(found)
        with service.stores_on_the_generators_core():
            console.print("chat, everything stored: broadcast …", style="dim")
            async with quiet(), started(chat.server) as running:
                found["broadcast"] += await scenarios.ladder(
                    generator, running, crowd, stores=service.stores_cpu
                )
            write(found)
            console.print("chat: slow readers …", style="dim")
            async with quiet(), started(chat.server) as running:
                for stalled in (0, RECEIVERS // 100):
                    await asyncio.sleep(scenarios.PAUSE_SECONDS)
                    load = Load(rate=50, stalled=stalled)
                    found["stalled"].append(
                        await scenarios.measure(
                            generator, running, crowd(), load, stores=service.stores_cpu
                        )
                    )
            write(found)


def _users(sockets: int) -> list[str]:
    """Return users for so many sockets, whom no former run had."""
    run = secrets.token_hex(3)
    return [f"bench-{run}-{number}" for number in range(sockets // service.SOCKETS_PER_USER)]


async def measure(where: environment.Environment, console: Console) -> Found:
    """Measure the chosen parts.

    Raises:
        CannotMeasureError, ApiError, CommandFailedError, TimeoutError: The measurement failed.
    """
    parts = chosen()
    found: Found = {
        "begun_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": os.getloadavg()[0],
        "cores": machine.cores(),
        "processor": machine.processor(),
        "versions": {
            "sources": machine.commit(ROOT),
            "Linux": platform.release(),
            "Python": platform.python_version(),
        },
        "broadcast": [],
        "idle": [],
        "stalled": [],
        "left_out": {},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await build(folder, "generator", "centrifuge")
            if "service" in parts:
                await measure_service(where, folder, folder / "credentials", found, console)
            await compare(folder, parts, found, console)
    return found


def write(found: Found, folder: Path = RESULTS) -> Path:
    """Write the raw data and the page; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    # Without line breaks: nearly all of it is histograms, which nobody reads line by line.
    (folder / "chat.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    page = folder / "figures.md"
    page.write_text(report.markdown(found), encoding="utf-8")
    return page


def main() -> int:
    """Run the benchmark; return the exit code: 0 measured, 2 not measured."""
    console = Console(highlight=False, width=100)
    complain = Console(stderr=True, highlight=False, width=100)
    try:
        where = environment.load(os.environ, Path.cwd())
        found = asyncio.run(measure(where, console))
    except (
        CannotMeasureError,
        NotConfiguredError,
        ApiError,
        CommandFailedError,
        TimeoutError,
    ) as error:
        complain.print(str(error) or type(error).__name__, style="red", markup=False)
        return 2
    page = write(found)
    console.print(report.markdown(found), markup=False)
    console.print(f"Written to {page.relative_to(ROOT)}, with the raw data next to it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
