"""The operator's private port: /livez, /readyz, /metrics."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


@asynccontextmanager
async def private_server(
    port: int, *, dead: Callable[[], str], unready: Callable[[], str]
) -> AsyncIterator[None]:
    """Serve the private port while the context is open.

    Args:
        port: The port's number.
        dead: Returns what is wrong with this process, or an empty string.
        unready: Returns what the process waits for, or an empty string.

    Raises:
        OSError: The port is in use.
    """

    def answer(asked: Callable[[], str]) -> Callable[[web.Request], object]:
        async def handle(_: web.Request) -> web.Response:
            message = asked()
            return web.json_response(
                {"ok": not message, "message": message}, status=503 if message else 200
            )

        return handle

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(), headers={"Content-Type": str(CONTENT_TYPE_LATEST)}
        )

    app = web.Application()
    app.router.add_get("/livez", answer(dead))  # type: ignore[arg-type]
    app.router.add_get("/readyz", answer(unready))  # type: ignore[arg-type]
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
