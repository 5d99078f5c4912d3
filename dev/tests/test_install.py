import io
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ashchat_dev import install, on_current, up
from ashchat_dev.target import Programs
from ashchat_node.errors import NodeError
from ashchat_node.progress import PlainProgress

PROGRAMS = Programs(Path("kubeconfig"), Path("kubectl"), Path("helm"))
REFERENCES = {"operator": "o:1", "chat": "c:1", "mailpit": "m:1"}


def resource(status: str = "True", generation: int = 2, **chat: Any) -> dict[str, Any]:
    component = {"name": "chat", "ready": True, "image": "c:1", **chat}
    return {
        "metadata": {"generation": 2},
        "status": {
            "conditions": [{"type": "Ready", "status": status, "observedGeneration": generation}],
            "components": [component, {"name": "cache", "ready": True, "image": "r:9"}],
        },
    }


def test_ready_is_ready() -> None:
    assert install.readiness(resource(), REFERENCES) == (True, "")


@pytest.mark.parametrize(
    ("found", "waiting"),
    [
        (resource("False"), "Ready"),
        (resource(generation=1), "has not seen it"),
        (resource(ready=False, message="0 of 2 ready"), "chat: 0 of 2 ready"),
        (resource(image="c:0"), "chat: its new image"),
        ({"metadata": {"generation": 1}}, "has not seen it"),
    ],
    ids=["not ready", "older generation", "a component", "another image", "no status"],
)
def test_anything_else_says_what_it_waits_for(found: dict[str, Any], waiting: str) -> None:
    ready, told = install.readiness(found, REFERENCES)
    assert not ready
    assert waiting in told


def test_the_operator_gets_the_table_without_its_own_image() -> None:
    values = install.operator_values(REFERENCES)
    assert (values["image"], values["images"]) == ("o:1", {"chat": "c:1"})


def test_the_examples_fit_the_cluster() -> None:
    found = install.objects(REFERENCES, "MongoDB", "http://10.0.0.1:30080")
    (ash,) = [item for item in found if item["kind"] == "AshChat"]
    assert ash["spec"]["publicUrl"] == "http://10.0.0.1:30080"
    assert ash["spec"]["mongodb"]["managed"]["engine"] == "MongoDB"
    (mailpit,) = [item for item in found if item["kind"] == "Deployment"]
    assert mailpit["spec"]["template"]["spec"]["containers"][0]["image"] == "m:1"
    for item in found:
        if item["kind"] == "Namespace":
            label = item["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
            assert label == "restricted"


def test_with_several_nodes_each_has_a_pod_of_what_clients_connect_to() -> None:
    (ash,) = [x for x in install.objects(REFERENCES, "FerretDB", "", 3) if x["kind"] == "AshChat"]
    spec = ash["spec"]
    pods = (spec["auth"], spec["chat"], spec["exposure"]["edge"])
    assert [each["replicas"] for each in pods] == [3, 3, 3]


def test_without_an_image_of_ours_the_mailbox_is_the_official_one() -> None:
    found = install.objects({"operator": "o:1"}, "MongoDB", "http://x")
    (mailpit,) = [item for item in found if item["kind"] == "Deployment"]
    image = mailpit["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.startswith("docker.io/axllent/mailpit:")


def node(**addresses: str) -> dict[str, Any]:
    listed = [{"type": kind, "address": each} for kind, each in addresses.items()]
    return {"status": {"addresses": listed}}


def test_a_cluster_is_reached_from_outside_where_it_can_be() -> None:
    assert on_current.reachable({"items": [node(InternalIP="10.0.0.1")]}) == "10.0.0.1"
    both = [node(InternalIP="10.0.0.1"), node(InternalIP="10.0.0.2", ExternalIP="192.0.2.7")]
    assert on_current.reachable({"items": both}) == "192.0.2.7"
    with pytest.raises(NodeError, match="no machine"):
        on_current.reachable({"items": []})


def test_a_cluster_of_ones_own_needs_a_registry() -> None:
    with pytest.raises(NodeError, match="IMAGE_REGISTRY is not set"):
        up.target_of("current", None, {})  # type: ignore[arg-type]


@contextmanager
def served(*statuses: int) -> Iterator[tuple[str, list[str]]]:
    """An edge that answers so, one after the other and then as the last; yields what was asked."""
    asked: list[str] = []

    class Edge(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(statuses[min(len(asked), len(statuses)) - 1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Edge)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> tuple[PlainProgress, io.StringIO]:
    monkeypatch.setattr(install, "POLL_SECONDS", 0.01)
    stream = io.StringIO()
    return PlainProgress(stream), stream


def test_where_every_service_answers_nothing_is_waited_for(
    progress: tuple[PlainProgress, io.StringIO],
) -> None:
    with served(200, 200, 401) as (url, asked):
        install.answers(PROGRAMS, url, progress[0])
    assert asked == list(install.ASKED)
    assert not progress[1].getvalue()


def test_an_edge_that_does_not_reach_a_service_yet_is_waited_for(
    progress: tuple[PlainProgress, io.StringIO],
) -> None:
    with served(200, 503, 200, 200, 502, 200, 200, 401) as (url, asked):
        install.answers(PROGRAMS, url, progress[0])
    assert asked[-3:] == list(install.ASKED)
    assert "the first answers" in progress[1].getvalue()


def test_an_edge_that_goes_on_refusing_says_what_and_where_to_look(
    progress: tuple[PlainProgress, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "ANSWERS_WITHIN_SECONDS", 0)
    with served(200, 503, 200, 503) as (url, _), pytest.raises(NodeError) as caught:
        install.answers(PROGRAMS, url, progress[0])
    assert "/auth/.well-known/jwks.json: HTTP 503" in caught.value.log_tail
    assert "logs deploy/demo-edge" in caught.value.what_to_do


def test_an_address_where_nobody_listens_is_no_answer(
    progress: tuple[PlainProgress, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "ANSWERS_WITHIN_SECONDS", 0)
    with served(200) as (url, _):
        pass
    with pytest.raises(NodeError, match="none at http"):
        install.answers(PROGRAMS, url, progress[0])
