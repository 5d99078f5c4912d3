import asyncio
import time
from contextlib import suppress

from fastapi.testclient import TestClient
from prometheus_client import REGISTRY

from ashchat_core.health import (
    BUSY_HEARTBEAT_SECONDS,
    DEAF_AFTER_SECONDS,
    Heartbeat,
    Readiness,
    private_app,
)


def client(readiness: Readiness, heartbeat: Heartbeat) -> TestClient:
    return TestClient(
        private_app(
            service="auth",
            version="1",
            pod="p",
            readiness=readiness,
            heartbeat=heartbeat,
            revisions=lambda: {"redis": "7"},
        )
    )


def test_readiness_says_what_it_waits_for_and_which_credentials_are_in_use() -> None:
    readiness = Readiness()
    http = client(readiness, Heartbeat())
    readiness.wait_for("RabbitMQ")
    answer = http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "waiting_for": "RabbitMQ",
        "credentials": {"redis": "7"},
    }
    readiness.done()
    assert http.get("/readyz").status_code == 200
    readiness.stop()
    assert (http.get("/readyz").status_code, http.get("/readyz").json()["waiting_for"]) == (
        503,
        "stopping",
    )


def test_liveness_is_the_event_loop_and_nothing_else() -> None:
    heartbeat = Heartbeat()
    http = client(Readiness(), heartbeat)
    assert http.get("/livez").status_code == 200
    heartbeat._last -= DEAF_AFTER_SECONDS + 1
    assert http.get("/livez").status_code == 503


def test_metrics_are_prometheus_text() -> None:
    answer = client(Readiness(), Heartbeat()).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'ashchat_build_info{pod="p",service="auth",version="1"} 1.0' in answer.text


async def test_a_blocked_event_loop_shows_in_the_metrics_however_short_the_block() -> None:
    def later_than(seconds: float) -> float:
        name, labels = "ashchat_event_loop_lag_seconds", {"le": str(seconds)}
        beats = REGISTRY.get_sample_value(f"{name}_count") or 0.0
        return beats - (REGISTRY.get_sample_value(f"{name}_bucket", labels) or 0.0)

    before = later_than(0.025)
    beating = asyncio.create_task(Heartbeat().run())
    try:
        await asyncio.sleep(0)  # the first beat is now under way
        time.sleep(0.06 + BUSY_HEARTBEAT_SECONDS)  # noqa: ASYNC251 (the block that is looked for)
        for _ in range(5):  # the loop's turns until the late beat has run
            await asyncio.sleep(0)
        assert later_than(0.025) == before + 1
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
