"""Those helpers of the e2e suite that can be tested without a cluster."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ashchat_dev import environment
from ashchat_dev.environment import Environment
from ashchat_dev.kube.api import path_of
from ashchat_dev.kube.cluster import inverse, rolled_out
from ashchat_dev.kube.metrics import Metrics
from ashchat_dev.mailbox import Mail
from ashchat_dev.waiting import until
from ashchat_e2e import worker
from ashchat_e2e.audit_log import AuditLog


def mail(text: str) -> Mail:
    return Mail("1", "<1@example.org>", "subject", ("ana@example.org",), "ash", text, "")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Your code is 123456.", "123456"),
        ("042137\n\nvalid for 10 minutes", "042137"),
        ("call 1234567 or #123456", None),
        ("nothing", None),
    ],
)
def test_the_code_is_the_number_of_exactly_six_digits(text: str, code: str | None) -> None:
    assert mail(text).code == code


def test_the_inverse_of_a_patch_restores_old_values_and_removes_new_ones() -> None:
    spec = {"chat": {"replicas": 2}, "translate": {"provider": "Apertium"}}
    patch = {"translate": {"provider": "Google", "google": {"project": "p"}}, "static": {"x": 1}}
    assert inverse(patch, spec) == {
        "translate": {"provider": "Apertium", "google": None},
        "static": None,
    }


def test_paths_know_groups_and_scopes() -> None:
    assert path_of("pods", "a", "ashchat") == "/api/v1/namespaces/ashchat/pods/a"
    assert path_of("deployments", None, "x") == "/apis/apps/v1/namespaces/x/deployments"
    assert path_of("namespaces", "ashchat", "ashchat") == "/api/v1/namespaces/ashchat"


def workload(**status: Any) -> dict[str, Any]:
    spec = {"replicas": 2, "selector": {"matchLabels": {"component": "chat"}}}
    return {"metadata": {"generation": 3}, "spec": spec, "status": status}


def pod(component: str = "chat", *, ready: bool = True, **metadata: Any) -> dict[str, Any]:
    condition = {"type": "Ready", "status": str(ready)}
    labels = {"component": component, "instance": "demo"}
    return {"metadata": {"labels": labels, **metadata}, "status": {"conditions": [condition]}}


DONE = {"observedGeneration": 3, "replicas": 2, "readyReplicas": 2}


def test_a_workload_is_rolled_out_only_when_every_pod_is_new_and_ready() -> None:
    done = {**DONE, "updatedReplicas": 2}
    assert rolled_out(workload(**done), [pod(), pod()])
    for lacking in (
        {"observedGeneration": 2},
        {"readyReplicas": 1},
        {"updatedReplicas": 1},
        {"replicas": 3},
    ):
        assert not rolled_out(workload(**{**done, **lacking}), [pod(), pod()])


@pytest.mark.parametrize(
    "other",
    [None, pod("auth"), pod(ready=False), pod(deletionTimestamp="2026-01-01T00:00:00Z")],
    ids=["gone", "of another", "not ready", "ending"],
)
def test_a_workload_that_counts_pods_just_killed_is_not_rolled_out(other: Any) -> None:
    pods = [pod(), *([other] if other else [])]
    assert not rolled_out(workload(**DONE, updatedReplicas=2), pods)


def test_a_statefulset_has_no_updated_replicas_once_it_is_done() -> None:
    pods = [pod(), pod()]
    assert rolled_out(workload(**DONE, currentRevision="a", updateRevision="a"), pods)
    assert not rolled_out(workload(**DONE, currentRevision="a", updateRevision="b"), pods)


def test_metrics_are_summed_over_unselected_labels() -> None:
    metrics = Metrics(
        "# TYPE ashchat_chat_sockets gauge\n"
        'ashchat_chat_sockets{protocol="1"} 2\nashchat_chat_sockets{protocol="2"} 3\n'
    )
    assert metrics.total("ashchat_chat_sockets") == 5
    assert metrics.value("ashchat_chat_sockets", protocol="2") == 3
    assert metrics.total("ashchat_other") == 0


def test_the_environment_wins_over_the_file_and_the_file_is_found_upwards(tmp_path: Path) -> None:
    (tmp_path / ".ashchat").mkdir()
    (tmp_path / ".ashchat" / "env").write_text(
        "# where\nASHCHAT_URL=http://a/\nexport MAILBOX_URL='http://m'\nKUBECONFIG=/k\n"
    )
    below = tmp_path / "deep"
    below.mkdir()
    found = environment.load({"MAILBOX_URL": "http://other"}, below)
    assert (found.url, found.mailbox_url, found.kubeconfig) == (
        "http://a",
        "http://other",
        Path("/k"),
    )
    assert found.socket_url == "ws://a/chat/socket/websocket"


def test_missing_settings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_env_file", lambda _start: None)
    with pytest.raises(environment.NotConfiguredError, match=r"MAILBOX_URL not set.*make up"):
        environment.load({"ASHCHAT_URL": "http://a"}, tmp_path)


def test_the_audit_log_returns_writes_after_the_mark_by_user(tmp_path: Path) -> None:
    def line(verb: str, user: str, stage: str = "ResponseComplete") -> str:
        return json.dumps({"stage": stage, "verb": verb, "user": {"username": user}}) + "\n"

    log = tmp_path / "audit.log"
    log.write_text(line("patch", "operator"))
    audit = AuditLog(tmp_path)
    mark = audit.mark()
    assert audit.since(mark) == []
    with log.open("a") as more:
        more.write(line("get", "operator") + line("update", "kubelet"))
        more.write(line("patch", "operator", "RequestReceived") + line("patch", "operator"))
        more.write('{"half": ')
    # Rotation renames the file; the mark still covers it.
    log.rename(tmp_path / "audit-1.log")
    log.write_text(line("create", "operator"))
    assert [entry["verb"] for entry in audit.since(mark, user="operator")] == ["patch", "create"]


async def test_until_returns_the_first_value_and_reports_the_last_error() -> None:
    values = iter([0, 0, 7])
    assert await until(lambda: next(values), every=0) == 7

    def knock() -> None:
        raise OSError("shut")

    with pytest.raises(AssertionError, match=r"the door: not within 0 s.*OSError\('shut'\)"):
        await until(knock, within=0, what="the door", ignoring=(OSError,))


def test_a_workers_addresses_keep_the_offset_of_this_machines_ports() -> None:
    first = Environment("http://127.0.0.1:31080", "http://127.0.0.1:31025")
    second = worker.environment(first, 1)
    assert (second.url, second.mailbox_url) == ("http://127.0.0.1:31181", "http://127.0.0.1:31281")
    plain = replace(first, url="http://127.0.0.1:30080")
    assert worker.environment(plain, 2).url == "http://127.0.0.1:30182"
