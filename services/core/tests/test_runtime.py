"""A service from its start to its end, in this process: real sockets, a real signal."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI

from ashchat_core import runtime
from ashchat_core.runtime import App, serve
from ashchat_core.settings import ServiceSettings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class World:
    """One service, and what happened in which order."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.backend_there = asyncio.Event()
        self.slow_begun, self.slow_go = asyncio.Event(), asyncio.Event()
        self.settings = ServiceSettings(
            bind="127.0.0.1", port=free_port(), private_port=free_port()
        )
        public = FastAPI()

        @public.get("/slow")
        async def slow() -> str:
            self.slow_begun.set()
            await self.slow_go.wait()
            self.order.append("slow request ended")
            return "done"

        self.app = App(
            name="test",
            settings=self.settings,
            public=public,
            revisions=dict,
            checks=(("the backend", self.check),),
            on_ready=(self.note("ready"),),
            on_stop=(self.stopping,),
            on_close=(self.note("closed"),),
        )
        self.http = httpx2.AsyncClient(trust_env=False)

    def note(self, what: str) -> Callable[[], Awaitable[None]]:
        async def hook() -> None:
            self.order.append(what)

        return hook

    async def check(self) -> None:
        if not self.backend_there.is_set():
            raise ConnectionError

    async def stopping(self) -> None:
        answer = await self.private("/readyz")
        self.order.append(f"stop: {answer.json()['waiting_for']}")

    async def private(self, path: str) -> httpx2.Response:
        return await self.http.get(f"http://127.0.0.1:{self.settings.private_port}{path}")

    async def public(self, path: str) -> httpx2.Response:
        return await self.http.get(f"http://127.0.0.1:{self.settings.port}{path}")


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                if await check():
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.01)


@pytest.fixture
def world() -> World:
    return World()


async def test_it_waits_for_what_it_needs_and_ends_in_order(world: World) -> None:
    running = asyncio.create_task(serve(world.app))

    async def waiting() -> bool:
        answer = await world.private("/readyz")
        return answer.status_code == 503 and answer.json()["waiting_for"] == "the backend"

    await eventually(waiting)
    assert (await world.private("/livez")).status_code == 200, "waiting is not being dead"
    assert not world.order
    world.backend_there.set()

    async def ready() -> bool:
        return (await world.private("/readyz")).status_code == 200

    await eventually(ready)
    request = asyncio.create_task(world.public("/slow"))
    await world.slow_begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)

    async def stopped_taking() -> bool:
        return len(world.order) == 2

    await eventually(stopped_taking)
    world.slow_go.set()
    assert (await request).text == '"done"', "a request that was begun is answered"
    await asyncio.wait_for(running, 5)
    assert world.order == ["ready", "stop: stopping", "slow request ended", "closed"]
    await world.http.aclose()


async def test_a_background_task_that_breaks_ends_the_service(world: World) -> None:
    async def broken() -> None:
        raise RuntimeError("a defect")

    world.app.background = (broken,)
    await asyncio.wait_for(serve(world.app), 5)
    assert world.order[-1] == "closed"
    await world.http.aclose()


async def test_the_end_may_come_while_it_still_waits(world: World) -> None:
    running = asyncio.create_task(serve(world.app))

    async def alive() -> bool:
        return (await world.private("/livez")).status_code == 200

    await eventually(alive)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 5)
    assert world.order == ["stop: stopping", "closed"]
    await world.http.aclose()


def test_the_grace_fits_into_kubernetes() -> None:
    drain_seconds, pre_stop_seconds, limit_seconds = 8, 3, 30
    assert runtime.GRACE_SECONDS + drain_seconds + pre_stop_seconds < limit_seconds
