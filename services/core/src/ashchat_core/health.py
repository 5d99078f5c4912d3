"""The private port: /livez, /readyz, /metrics.

Readiness waits once, at the start, for what the service needs. A backend that becomes
unavailable later shows in the metrics and as 503 of the requests that need it. An unready pod
would stop all other requests, too, and clients would get the edge's 502.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, Info, generate_latest

BUSY_HEARTBEAT_SECONDS: Final = 0.025
"""Interval of the heartbeat while the service works; each beat costs 0.15 ms of CPU."""

IDLE_HEARTBEAT_SECONDS: Final = 0.25
"""Interval of the heartbeat while it does not: beats would be most of what it does."""

BUSY_SHARE: Final = 0.1
"""Share of a core from which a service counts as busy."""

DEAF_AFTER_SECONDS: Final = 15.0
"""How long the event loop may not run a callback before it counts as stuck."""

_LAG = Histogram(
    "ashchat_event_loop_lag_seconds",
    "How late the event loop runs what is due: a block lasts this long "
    f"or up to {BUSY_HEARTBEAT_SECONDS} s longer ({IDLE_HEARTBEAT_SECONDS} s after idleness)",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
_BUILD = Info("ashchat_build", "Version of the service and of Python")


class Readiness:
    """Whether the pod accepts traffic: after the start-up checks, and not while stopping."""

    def __init__(self) -> None:
        self._waiting_for: str | None = "start"
        self._stopping = False

    @property
    def ready(self) -> bool:
        """Whether the pod accepts traffic."""
        return self._waiting_for is None and not self._stopping

    @property
    def waiting_for(self) -> str | None:
        """What readiness waits for; None if it is ready."""
        return "stopping" if self._stopping else self._waiting_for

    def wait_for(self, what: str) -> None:
        """Record which start-up check is waited for."""
        self._waiting_for = what

    def done(self) -> None:
        """Record that every start-up check succeeded."""
        self._waiting_for = None

    def stop(self) -> None:
        """Stop accepting traffic."""
        self._stopping = True


class Heartbeat:
    """Detects whether the event loop runs."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def run(self) -> None:
        """Beat until cancelled."""
        interval = BUSY_HEARTBEAT_SECONDS
        while True:
            used, due = time.process_time(), time.monotonic() + interval
            await asyncio.sleep(interval)
            self._last = time.monotonic()
            _LAG.observe(max(0.0, self._last - due))
            busy = time.process_time() - used >= interval * BUSY_SHARE
            interval = BUSY_HEARTBEAT_SECONDS if busy else IDLE_HEARTBEAT_SECONDS

    @property
    def alive(self) -> bool:
        """Whether the last beat is recent."""
        return time.monotonic() - self._last < DEAF_AFTER_SECONDS


def private_app(
    *,
    service: str,
    version: str,
    pod: str,
    readiness: Readiness,
    heartbeat: Heartbeat,
    revisions: Callable[[], dict[str, str]],
) -> FastAPI:
    """Return the application of the private port."""
    _BUILD.info({"service": service, "version": version, "pod": pod})
    app = FastAPI(title=f"{service}: health", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/livez")
    async def livez() -> Response:
        return JSONResponse({"alive": heartbeat.alive}, status_code=200 if heartbeat.alive else 503)

    @app.get("/readyz")
    async def readyz() -> Response:
        return JSONResponse(
            {
                "ready": readiness.ready,
                "waiting_for": readiness.waiting_for,
                "credentials": revisions(),
            },
            status_code=200 if readiness.ready else 503,
        )

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app
