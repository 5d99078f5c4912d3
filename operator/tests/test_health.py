"""The probes and metrics on the private port."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from ashchat_operator.health import private_server


class Process:
    """The state that the process reports."""

    def __init__(self) -> None:
        self.dead = ""
        self.unready = ""


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
async def port(process: Process) -> AsyncIterator[int]:
    number = unused_port()
    async with private_server(number, dead=lambda: process.dead, unready=lambda: process.unready):
        yield number


async def ask(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        if response.content_type == "application/json":
            answer = await response.json()
            assert answer["ok"] is (response.status == 200)
            return response.status, answer["message"]
        return response.status, await response.text()


async def test_a_process_is_live_and_ready_by_default(port: int) -> None:
    assert await ask(port, "/livez") == (200, "")
    assert await ask(port, "/readyz") == (200, "")


async def test_a_dead_process_reports_why_instead_of_what_it_waits_for(
    port: int, process: Process
) -> None:
    process.dead = "a watch has said nothing"
    assert await ask(port, "/livez") == (503, "a watch has said nothing")
    assert await ask(port, "/readyz") == (200, "")
    process.dead = ""
    assert await ask(port, "/livez") == (200, "")


async def test_a_waiting_process_reports_what_for_and_is_not_restarted(
    port: int, process: Process
) -> None:
    process.unready = "watching has not begun"
    assert await ask(port, "/readyz") == (503, "watching has not begun")
    assert await ask(port, "/livez") == (200, "")


async def test_the_operators_metrics_are_served(port: int) -> None:
    status, text = await ask(port, "/metrics")
    assert status == 200
    assert "# TYPE ashchat_operator_" in text


async def test_the_port_is_released_on_exit() -> None:
    number = unused_port()
    for _ in range(2):
        async with private_server(number, dead=lambda: "", unready=lambda: ""):
            assert (await ask(number, "/livez"))[0] == 200
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(number, "/livez")
