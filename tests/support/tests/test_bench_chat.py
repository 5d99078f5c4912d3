"""The chat benchmark: the generator measures what a known server does, and the page says it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.server import ServerConnection, serve

from ashchat_e2e.bench.chat import load, report, scenarios
from ashchat_e2e.bench.chat.load import CannotMeasureError, Client, Load

CLIENTS = [Client(sends=number < 2) for number in range(5)]
SHORT = Load(rate=50, warmup_s=0.2, duration_s=0.8)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    try:
        await load.build(folder, "generator")
    except CannotMeasureError as error:
        pytest.skip(str(error))
    return folder / "generator"


@asynccontextmanager
async def broadcasting(*, loses: Callable[[int], bool], delay: float = 0.0) -> AsyncIterator[str]:
    """Run a server that sends each text to all clients, except the messages that it loses."""
    connected: set[ServerConnection] = set()
    count = 0

    async def handle(connection: ServerConnection) -> None:
        nonlocal count
        connected.add(connection)
        async for text in connection:
            count += 1
            await asyncio.sleep(delay)
            if not loses(count):
                for one in connected:
                    await one.send(text)

    async with serve(handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/"


async def measured(generator: Path, url: str, settings: Load = SHORT) -> dict[str, Any]:
    return await load.run(
        generator, url=url, protocol="plain", clients=CLIENTS, load=settings, on={}
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_every_delivery_is_counted_and_its_latency_is_that_of_the_server(
    generator: Path,
) -> None:
    async with broadcasting(loses=lambda _: False, delay=0.05) as url:
        found = await measured(generator, url, Load(rate=10, warmup_s=0.2, duration_s=1.0))
    assert found["sent"] == 10
    assert found["received"] == found["expected"] == 10 * len(CLIENTS)
    assert found["delivery"]["p50_ms"] >= 50
    assert sum(count for _, count in found["delivery"]["buckets_ms_count"]) == found["received"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_lost_message_is_missing_and_the_rate_was_not_carried(generator: Path) -> None:
    async with broadcasting(loses=lambda number: number == 20) as url:
        found = await measured(generator, url)
    assert found["expected"] - found["received"] == len(CLIENTS)
    assert not scenarios.sustained(found)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("url", ["ws://192.0.2.1:80/", "ws://localhost:80/"])
async def test_the_generator_loads_only_loopback_addresses(generator: Path, url: str) -> None:
    with pytest.raises(CannotMeasureError, match="not a loopback address"):
        await measured(generator, url)


def test_the_page_has_what_was_measured() -> None:
    latency = {"p50_ms": 3.0, "p99_ms": 9.0}
    result = {
        "server": "ours", "offered_per_s": 20_000, "deliveries_per_s": 19_000.0,
        "delivery": latency, "replies": latency, "generator_lateness": {"p99_ms": 60.0},
        "expected": 10, "received": 9, "failures": 0, "server_cores": 0.5,
        "generator_cores": 0.25, "others_cores": 0.1, "stores_cores": {"postgres": 0.3},
        "server_rss_bytes": 10**8, "load": {"stalled": 10},
    }  # fmt: skip
    idle = {
        "server": "ours", "sockets": 10_000, "topics": 2, "rss_per_socket_bytes": 8_000.0,
        "kernel_per_socket_bytes": 4_000.0, "server_cores": 0.01,
    }  # fmt: skip
    page = report.markdown(
        {
            "begun_at": "now", "load_before": 0.1, "cores": 2, "processor": "P",
            "versions": {"Linux": "6"}, "left_out": {"theirs": "no Node.js"},
            "broadcast": [result], "idle": [idle], "stalled": [result],
        }
    )  # fmt: skip
    assert "| ours* | 20,000 | 19,000 | 3 | 9 | 1 | 0.50 | 0.25 | 0.10 | no |" in page
    assert "| ours | 10,000 | 2 | 8.0 | 4.0 | 0.010 |" in page
    assert "| 10 | 19,000 | 3 | 9 | 1 | 100 |" in page
    assert "| 20,000 | 3 | 9 | postgres 0.30 |" in page
    assert "left out: theirs: no Node.js" in page
    assert json.dumps(result)
