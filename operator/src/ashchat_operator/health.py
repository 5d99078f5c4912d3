"""The operator's private port: /livez, /readyz, /metrics."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


@asynccontextmanager
async def private_server(
    port: int, *, alive: Callable[[], bool], ready: Callable[[], bool]
) -> AsyncIterator[None]:
    """Answer on the private port as long as the context is open.

    Raises:
        OSError: The port is taken.
    """

    def answer(says: Callable[[], bool]) -> Callable[[web.Request], object]:
        async def handle(_: web.Request) -> web.Response:
            fine = says()
            return web.json_response({"ok": fine}, status=200 if fine else 503)

        return handle

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(), headers={"Content-Type": str(CONTENT_TYPE_LATEST)}
        )

    app = web.Application()
    app.router.add_get("/livez", answer(alive))  # type: ignore[arg-type]
    app.router.add_get("/readyz", answer(ready))  # type: ignore[arg-type]
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
