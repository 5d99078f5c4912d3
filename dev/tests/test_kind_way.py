from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from ashchat_dev.kind.settings import Way
from ashchat_dev.kind.way import decide, registry_answers
from ashchat_dev.on_kind import way_of

SECONDS = 1.0


@pytest.mark.parametrize(
    ("wanted", "existing", "answers", "way"),
    [
        (None, None, True, "pull"),
        (None, None, False, "build"),
        ("build", None, True, "build"),
        ("pull", None, False, "pull"),
        ("pull", "build", True, "build"),
        (None, "pull", False, "pull"),
    ],
)
def test_the_cluster_then_the_user_then_the_registry_decides(
    wanted: Way | None,
    existing: Way | None,
    answers: bool,  # noqa: FBT001
    way: Way,
) -> None:
    assert decide(wanted, existing, lambda: answers).way == way


def test_the_registry_is_not_asked_if_the_answer_is_known() -> None:
    def fail() -> bool:
        raise AssertionError("asked")

    assert decide("build", None, fail).way == "build"
    assert decide(None, "pull", fail).way == "pull"


def test_the_line_states_the_engine_and_the_reason() -> None:
    assert "MongoDB (Docker Hub answers)" in str(decide(None, None, lambda: True))
    assert "FerretDB (Docker Hub does not answer)" in str(decide(None, None, lambda: False))


def test_the_way_of_a_cluster_is_read_from_its_node_image() -> None:
    assert way_of(None) is None
    assert way_of("localhost/ashchat-kind-node:0123") == "build"
    assert way_of("kindest/node:v1.37.0@sha256:01") == "pull"


@contextmanager
def server(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v2/"
        running.shutdown()


@pytest.mark.parametrize(
    ("status", "answers"), [(401, True), (200, True), (403, False), (502, False)]
)
def test_only_a_registrys_answer_counts(status: int, *, answers: bool) -> None:
    with server(status) as url:
        assert registry_answers(url, SECONDS) is answers


def test_a_registry_that_is_unreachable_does_not_answer() -> None:
    with server(401) as url:
        pass
    assert registry_answers(url, SECONDS) is False
