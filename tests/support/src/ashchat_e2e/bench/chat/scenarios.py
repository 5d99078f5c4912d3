"""What is measured of each server."""

import asyncio
import fcntl
import os
import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ashchat_e2e.bench.chat import load as generator_module
from ashchat_e2e.bench.chat.load import Client, Load
from ashchat_e2e.bench.chat.servers import Running, kernel_bytes, machine_cpu

RECEIVERS: Final = 1_000
RATES: Final = (20, 60, 110, 150, 200, 250, 310, 380, 450, 500, 600)
"""Messages a second; times the receivers, deliveries."""

P99_MS: Final = 150.0
LATE_MS: Final = 50.0
"""How late the generator may be (p99) for its figures to count."""

PAUSE_SECONDS: Final = 3.0
"""Between two loads: the sockets of the former end."""

TRIES: Final = 2
"""How often a rate that was not carried is tried: other processes share the machine."""

IDLE_SOCKETS: Final = 10_000
IDLE_SECONDS: Final = 20.0
HEARTBEAT_SECONDS: Final = 30.0


@dataclass(slots=True)
class Usage:
    """What a server used while it was measured."""

    cpu: float = 0.0
    rss: int = 0
    stores: dict[str, float] = field(default_factory=dict)
    machine: float = 0.0


@asynccontextmanager
async def quiet() -> AsyncIterator[None]:
    """Hold the lock named by QUIET_LOCK, which keeps other work off the machine; if it is set."""
    name = os.environ.get("QUIET_LOCK")
    if not name:
        yield
        return
    lock = os.open(name, os.O_RDWR | os.O_CREAT)
    try:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


async def measure(
    program: Path,
    running: Running,
    clients: list[Client],
    load: Load,
    *,
    stores: Any = dict,
) -> dict[str, Any]:
    """Return what the generator measured, and what the server used meanwhile."""
    loop = asyncio.get_running_loop()
    began, ended = Usage(), Usage()
    times: list[float] = []

    def note(usage: Usage) -> None:
        times.append(loop.time())
        usage.cpu = running.cpu_seconds
        usage.rss = running.rss_bytes
        usage.stores = stores()
        usage.machine = machine_cpu()

    result = await generator_module.run(
        program,
        url=running.url,
        protocol=running.server.protocol,
        clients=clients,
        load=load,
        on={"measuring": lambda: note(began), "measured": lambda: note(ended)},
    )
    seconds = times[1] - times[0]
    stores_cores = {
        name: (ended.stores[name] - used) / seconds for name, used in began.stores.items()
    }
    server_cores = (ended.cpu - began.cpu) / seconds
    busy = (ended.machine - began.machine) / seconds
    return {
        **result,
        "server": running.server.name,
        "offered_per_s": load.rate * RECEIVERS,
        "load": {"rate": load.rate, "stalled": load.stalled, "acknowledge": load.acknowledge},
        "server_cores": server_cores,
        "server_rss_bytes": ended.rss,
        "stores_cores": stores_cores,
        "others_cores": busy
        - server_cores
        - result["generator_cores"]
        - sum(stores_cores.values()),
    }


def sustained(result: dict[str, Any]) -> bool:
    """Return whether a server carried the load: nothing missing, and in time."""
    return bool(
        result["received"] >= result["expected"] > 0
        and not result["failures"]
        and result["delivery"]["p99_ms"] <= P99_MS
    )


async def ladder(
    program: Path,
    running: Running,
    crowd: Callable[[], list[Client]],
    *,
    rates: Sequence[int] = RATES,
    stores: Any = dict,
) -> list[dict[str, Any]]:
    """Raise the rate until the server does not carry it; `crowd` returns each load's clients."""
    found = []
    for rate in rates:
        for _ in range(TRIES):
            tried = await measure(program, running, crowd(), Load(rate=rate), stores=stores)
            found.append(tried)
            await asyncio.sleep(PAUSE_SECONDS)
            if sustained(tried):
                break
        else:
            break
    return found


async def idle(program: Path, running: Running, clients: list[Client]) -> dict[str, Any]:
    """Return what idle sockets cost."""
    await asyncio.sleep(1.0)  # the server has started
    before, kernel = running.rss_bytes, kernel_bytes()
    grown: list[int] = []
    load = Load(duration_s=IDLE_SECONDS, heartbeat_s=HEARTBEAT_SECONDS, warmup_s=5.0)

    def joined() -> None:
        grown.append(kernel_bytes() - kernel)

    loop = asyncio.get_running_loop()
    samples: list[tuple[float, float, int]] = []

    def note() -> None:
        samples.append((loop.time(), running.cpu_seconds, running.rss_bytes))

    result = await generator_module.run(
        program,
        url=running.url,
        protocol=running.server.protocol,
        clients=clients,
        load=load,
        on={"joined": joined, "measuring": note, "measured": note},
    )
    (began, cpu_before, _), (ended, cpu_after, rss) = samples
    return {
        "server": running.server.name,
        "sockets": len(clients),
        "topics": len(clients[0].rooms),
        "rss_before_bytes": before,
        "rss_bytes": rss,
        "rss_per_socket_bytes": (rss - before) / len(clients),
        "kernel_per_socket_bytes": statistics.mean(grown) / len(clients),
        "server_cores": (cpu_after - cpu_before) / (ended - began),
        "connect_s": result["connect_s"],
        "failures": result["failures"],
        "errors": result["errors"],
    }
