"""Runs a service: two servers in one event loop, background tasks, a graceful shutdown.

The order of the shutdown matters: report it (readiness 503, and `Connection: close` in every
response, so that clients with open connections turn to another pod), stop consuming and finish
the delivered messages, finish open requests while they can still publish, then close clients.
This takes at most 22 s plus the service's own hooks (chat closes its sockets in 6 s), less than
the 37 s after which Kubernetes kills the pod.
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from ashchat_core import __version__, topology
from ashchat_core.amqp import Broker
from ashchat_core.backoff import backoff
from ashchat_core.health import Heartbeat, Readiness, private_app
from ashchat_core.settings import ServiceSettings
from ashchat_core.telemetry import configure_logging
from ashchat_core.topology import Service

GRACE_SECONDS: Final = 12
"""How long open requests may take during the shutdown."""

ENDING_SECONDS: Final = 2.0
"""How long requests are still accepted: longer than the edge's idle connections (1 s)."""

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)

Check = Callable[[], Awaitable[None]]
WebSocket = Callable[[set[Any]], asyncio.Protocol]
"""Returns the protocol of a connection that asks for a WebSocket. It adds itself to the set of open
connections, which the server waits for at its end after it has called `shutdown` of each."""

Hook = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class App:
    """A wired service, ready to be served."""

    name: str
    settings: ServiceSettings
    public: ASGIApp | None
    revisions: Callable[[], dict[str, str]]
    websocket: WebSocket | None = None
    """Accepts WebSockets on the public port; None: they are refused."""

    checks: Sequence[tuple[str, Check]] = ()
    """Name and function of each start-up check; retried until it succeeds."""

    background: Sequence[Callable[[], Awaitable[None]]] = ()
    """Tasks that run until the shutdown."""

    on_ready: Sequence[Hook] = ()
    """Called once, after every check has succeeded, to start consuming."""

    on_stop: Sequence[Hook] = ()
    """Called in order at the shutdown, while the servers still respond."""

    on_close: Sequence[Hook] = ()
    """Called last, to close clients."""

    readiness: Readiness = field(default_factory=Readiness)


class _Server(uvicorn.Server):
    """A uvicorn server that does not install signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(
    app: ASGIApp, settings: ServiceSettings, port: int, websocket: WebSocket | None = None
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.bind,
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ws="websockets-sansio" if websocket is None else _websocket_class(websocket),
        ws_per_message_deflate=False,
        lifespan="off",
        h11_max_incomplete_event_size=32 * 1024,
    )


def _websocket_class(make: WebSocket) -> Any:
    """Return what uvicorn calls for a connection that asks for a WebSocket."""

    def accept(*, server_state: ServerState, **_: Any) -> asyncio.Protocol:
        return make(server_state.connections)

    return accept


class _UntilEnding:
    """Asks clients not to reuse connections during the shutdown (RFC 9112, 9.6)."""

    def __init__(self, app: ASGIApp, ending: asyncio.Event) -> None:
        self._app = app
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and self._ending.is_set():
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, answer if scope["type"] == "http" else send)


async def serve(app: App) -> None:
    """Run a service until SIGTERM or SIGINT."""
    log = structlog.get_logger("service")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    heartbeat = Heartbeat()
    settings = app.settings
    private = _Server(
        _config(
            private_app(
                service=app.name,
                version=__version__,
                pod=settings.pod_name,
                readiness=app.readiness,
                heartbeat=heartbeat,
                revisions=app.revisions,
            ),
            settings,
            settings.private_port,
        )
    )
    servers = [private]
    if app.public is not None:
        public = _UntilEnding(app.public, stop)
        servers.append(_Server(_config(public, settings, settings.port, app.websocket)))

    tasks = [asyncio.create_task(server.serve()) for server in servers]
    background = [asyncio.create_task(_named(heartbeat.run))]
    background += [asyncio.create_task(_named(run)) for run in app.background]
    starting = asyncio.create_task(_start(app, log))
    stopping: asyncio.Task[object] = asyncio.create_task(stop.wait())
    log.info("started", version=__version__, pod=settings.pod_name)
    try:
        # A server or background task that ends by itself is a defect: end the process, so that
        # Kubernetes restarts the container.
        starting.add_done_callback(lambda task: _stop_if_failed(task, stop))
        await asyncio.wait([stopping, *tasks, *background], return_when=asyncio.FIRST_COMPLETED)
        ended: list[asyncio.Task[Any]] = [*tasks, *background, starting]
        for task in ended:
            if task.done() and not task.cancelled() and task.exception() is not None:
                log.error("a task ended", exc_info=task.exception())
    finally:
        log.info("stopping")
        app.readiness.stop()
        starting.cancel()
        if app.public is not None and stop.is_set():
            await asyncio.sleep(ENDING_SECONDS)
        for hook in app.on_stop:
            await _quietly(hook, log)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)
        rest: list[asyncio.Task[Any]] = [*background, starting, stopping]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for hook in app.on_close:
            await _quietly(hook, log)
        log.info("stopped")


def run(
    service: Service, build: Callable[[SettingsT], App], settings_class: type[SettingsT]
) -> None:
    """Read the settings, configure logging, build the app in the event loop and serve it.

    Args:
        service: The service to run.
        build: Wires the app from its settings.
        settings_class: The service's settings, read from the environment.
    """
    import uvloop

    settings = settings_class()
    configure_logging(service.value, settings.log_level)

    async def main() -> None:
        await serve(build(settings))

    uvloop.run(main())


def queues_check(broker: Broker, service: Service) -> tuple[str, Check]:
    """Return the start-up check that the service's queues are declared.

    These are the queues that it consumes or, if there are none, those that it publishes to.
    """
    queues = [queue.value for queue in topology.consumed(service) or topology.published(service)]

    async def check() -> None:
        await broker.topology_ready(queues)

    return "RabbitMQ and its queues", check


def _stop_if_failed(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Stop the service if its start has failed."""
    if not task.cancelled() and task.exception() is not None:
        stop.set()


async def _start(app: App, log: structlog.typing.FilteringBoundLogger) -> None:
    for name, check in app.checks:
        app.readiness.wait_for(name)
        attempt = 0
        while True:
            try:
                await check()
            except Exception as error:  # noqa: BLE001 (any error means: not yet)
                if attempt % 10 == 0:
                    log.info("waiting", what=name, kind=type(error).__name__)
                await asyncio.sleep(min(backoff(attempt), 1.0))
                attempt += 1
            else:
                break
    for hook in app.on_ready:
        await hook()
    # Existing objects stay: a full collection need not examine them again, and blocks the event
    # loop for less time (https://docs.python.org/3/library/gc.html#gc.freeze).
    gc.collect()
    gc.freeze()
    app.readiness.done()
    log.info("ready")


async def _named(run: Callable[[], Awaitable[None]]) -> None:
    await run()


async def _quietly(hook: Hook, log: structlog.typing.FilteringBoundLogger) -> None:
    try:
        await hook()
    except Exception:
        log.exception("a shutdown hook failed")
