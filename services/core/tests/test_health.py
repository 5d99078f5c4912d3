from fastapi.testclient import TestClient

from ashchat_core.health import DEAF_AFTER_SECONDS, Heartbeat, Readiness, private_app


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
