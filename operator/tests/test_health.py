"""What the kubelet and Prometheus hear on the private port."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from ashchat_operator.health import private_server


class Process:
    """What the process says of itself."""

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


async def test_a_process_of_which_nothing_is_said_lives_and_is_ready(port: int) -> None:
    assert await ask(port, "/livez") == (200, "")
    assert await ask(port, "/readyz") == (200, "")


async def test_a_dead_process_says_why_and_not_that_it_waits(port: int, process: Process) -> None:
    process.dead = "a watch has said nothing"
    assert await ask(port, "/livez") == (503, "a watch has said nothing")
    assert await ask(port, "/readyz") == (200, "")
    process.dead = ""
    assert await ask(port, "/livez") == (200, "")


async def test_a_process_that_waits_says_for_what_and_is_not_restarted(
    port: int, process: Process
) -> None:
    process.unready = "watching has not begun"
    assert await ask(port, "/readyz") == (503, "watching has not begun")
    assert await ask(port, "/livez") == (200, "")


async def test_the_metrics_are_those_of_the_operator(port: int) -> None:
    status, text = await ask(port, "/metrics")
    assert status == 200
    assert "# TYPE ashchat_operator_" in text


async def test_the_port_is_free_again_afterwards() -> None:
    number = unused_port()
    for _ in range(2):
        async with private_server(number, dead=lambda: "", unready=lambda: ""):
            assert (await ask(number, "/livez"))[0] == 200
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(number, "/livez")
