"""Status against an AshChat recorded from a cluster: the data, and how it looks."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ashchat_cli.objects import Depth
from ashchat_cli.status import names, overview, render
from ashchat_core.topology import Queue

RECORDED = json.loads((Path(__file__).parent / "recorded" / "ready.json").read_text())
FULL = {name: Depth(0, 0 if name.endswith(".dead") else 1) for name in names()}


@pytest.fixture
def recorded() -> Any:
    return copy.deepcopy(RECORDED)


def shown(told: Any, *, width: int = 80, colour: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        highlight=False,
        force_terminal=colour,
        color_system="standard" if colour else None,
    )
    console.print(render([told]))
    return out.getvalue()


def test_ready_as_recorded(recorded: Any) -> None:
    told = overview(recorded["resource"], recorded["pods"], FULL)
    assert told["ready"]
    text = shown(told)
    assert "✓ ashchat/demo  Ready" in text
    assert "✗" not in text
    assert "0 messages waiting, 0 dead letters" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    for each in told["components"]:
        assert each["name"] in text


def test_a_terminal_gets_colours_unless_it_says_no(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = overview(recorded["resource"], recorded["pods"], FULL)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m✓" in shown(told, colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in shown(told, colour=True)


def test_a_pod_that_ends_is_not_a_fault(recorded: Any) -> None:
    former = copy.deepcopy(recorded["pods"][0])
    former["metadata"].update(name="former", deletionTimestamp="2026-05-04T10:20:30Z")
    for state in former["status"]["conditions"]:
        state["status"] = "False"
    told = overview(recorded["resource"], [*recorded["pods"], former], FULL)
    text = shown(told)
    assert "• former  Terminating" in text
    assert "✗" not in text


def test_what_is_not_ready_says_why_within_80_columns(recorded: Any) -> None:
    resource = recorded["resource"]
    message = "0/1 nodes are available: 1 Insufficient cpu. " * 4
    resource["status"]["conditions"][0].update(
        status="False", reason="ComponentsNotReady", message=message
    )
    chat = next(x for x in resource["status"]["components"] if x["name"] == "chat")
    chat.update(ready=False, reason="Unschedulable", message=message, readyReplicas=1)
    for pod in recorded["pods"]:
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "chat":
            pod["status"]["containerStatuses"][0]["restartCount"] = 3
    told = overview(resource, recorded["pods"], FULL)
    assert not told["ready"]
    text = shown(told)
    assert "✗ ashchat/demo  ComponentsNotReady" in text
    assert "✗ chat       1/2  Unschedulable  6 restarts" in text
    assert "Insufficient cpu" in text
    assert max(map(len, text.splitlines())) <= 80
    # In a pipe or a narrow window nothing is cut off, only broken.
    assert "Insufficient" in shown(told, width=40).replace("\n", "")


def test_an_older_generation_is_not_ready(recorded: Any) -> None:
    recorded["resource"]["metadata"]["generation"] += 1
    told = overview(recorded["resource"], recorded["pods"], FULL)
    assert (told["ready"], told["reason"]) == (False, "NotObserved")


def test_one_that_is_being_deleted_is_not_ready(recorded: Any) -> None:
    recorded["resource"]["metadata"]["deletionTimestamp"] = "2026-11-25T09:00:00Z"
    told = overview(recorded["resource"], recorded["pods"], FULL)
    assert (told["ready"], told["reason"]) == (False, "Deleted")


def test_one_that_no_operator_has_observed_is_reported_as_such(recorded: Any) -> None:
    del recorded["resource"]["status"]
    told = overview(recorded["resource"], [], None, "no right")
    text = shown(told)
    assert not told["ready"]
    assert "no operator has reconciled it yet" in text
    assert "not read: no right" in text


def test_queues_that_need_attention_are_shown(recorded: Any) -> None:
    depths = {
        **FULL,
        Queue.TRANSLATE.value: Depth(12, 0),
        f"{Queue.TRANSLATED}.dead": Depth(2, 0),
        Queue.CHANGE_EMAIL.value: None,
    }
    text = shown(overview(recorded["resource"], recorded["pods"], depths))
    assert "12 messages waiting, 2 dead letters" in text
    assert "✗ TRANSLATE_QUEUE  12 waiting  0 consumers" in text
    assert "• TRANSLATED_QUEUE  0 waiting  1 consumer  2 dead" in text
    assert "✗ CHANGE_EMAIL_QUEUE  does not exist" in text
    assert "ACCOUNT_CREATION_QUEUE" not in text


def test_a_rotation_and_a_pause_are_shown(recorded: Any) -> None:
    recorded["resource"]["metadata"]["annotations"] = {"ashchat.dev/pause": "true"}
    recorded["resource"]["status"]["rotation"] = [
        {"name": "signing-keys", "phase": "Idle", "lastRotationTime": "2026-11-20T03:00:00Z"},
        {
            "name": "users",
            "phase": "Proving",
            "lastTransitionTime": "2026-11-25T08:00:00Z",
            "message": "chat-1",
        },
        {"name": "later", "phase": "SomethingNew"},
    ]
    text = shown(overview(recorded["resource"], recorded["pods"], FULL))
    assert "paused" in text
    assert "✓ signing-keys  Idle  last 2026-11-20T03:00:00Z" in text
    assert "• users  Proving since 2026-11-25T08:00:00Z  chat-1" in text
    assert "• later  SomethingNew" in text


def test_the_shape_for_programs_is_kept(recorded: Any) -> None:
    told = overview(recorded["resource"], recorded["pods"], FULL)
    assert set(told) == {
        *("name", "namespace", "ready", "reason", "message", "url", "version", "paused"),
        *("conditions", "components", "queues"),
    }
    assert set(told["components"][0]) == {
        *("name", "ready", "reason", "message", "replicas", "readyReplicas", "restarts"),
        *("image", "pods"),
    }
    assert set(told["queues"][0]) == {
        *("name", "reader", "there", "messages", "consumers", "dead"),
    }
