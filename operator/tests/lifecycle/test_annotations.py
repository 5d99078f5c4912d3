"""Annotation commands: how they are read, rendered and reported in the status."""

from typing import Any

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import Annotation
from ashchat_operator.kube.events import transitions
from ashchat_operator.lifecycle.annotations import (
    Commands,
    paused_status,
    read,
    with_restart_tokens,
)
from ashchat_operator.resource.model import AshChat
from ashchat_operator.status.components import Component
from operator_rendering import rendered
from operator_rendering import resource as fixed_resource

COMPONENTS = ("rabbitmq", "chat", "auth")
LATER = "2026-01-02T00:00:00Z"


def resource(handled: dict[str, str] | None = None, **annotations: str) -> AshChat:
    return fixed_resource("minimal").model_copy(
        update={
            "annotations": {
                f"ashchat.dev/{key.replace('_', '-')}": value for key, value in annotations.items()
            },
            "status": {"commands": {"restarts": handled}} if handled else {},
        }
    )


def test_without_annotations_there_are_no_commands() -> None:
    for body in (resource(), resource(restart_chat="")):
        found = read(body, COMPONENTS)
        assert (found.paused, dict(found.restarts), found.unknown) == (False, {}, [])
        assert found.status() == {}
        assert found.findings[ConditionType.COMMANDS_HANDLED][:2] == ("True", "NothingRequested")
        assert found.findings[ConditionType.PAUSED][:2] == ("False", "NotPaused")


def test_only_true_pauses_in_upper_or_lower_case() -> None:
    assert read(resource(pause="true"), COMPONENTS).paused
    assert read(resource(pause="True"), COMPONENTS).paused
    assert not read(resource(pause="false"), COMPONENTS).paused
    assert str(Annotation.PAUSE) == "ashchat.dev/pause"


def templates(objects: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    return {
        item["metadata"]["labels"]["app.kubernetes.io/component"]: item["spec"]["template"][
            "metadata"
        ].get("annotations", {})
        for item in objects
        if item["kind"] in {"Deployment", "StatefulSet"}
    }


def test_a_restart_token_is_set_on_the_pods_of_its_component_only() -> None:
    plain = rendered("everything")
    objects = with_restart_tokens(plain, read(resource(restart_rabbitmq="now"), COMPONENTS))
    before, after = templates(plain), templates(objects)
    assert after["rabbitmq"] == {**before["rabbitmq"], Annotation.RESTART: "now"}
    assert {key for key in before if before[key] != after[key]} == {"rabbitmq"}


def test_without_commands_rendering_is_unchanged() -> None:
    assert with_restart_tokens(rendered("everything"), Commands()) == rendered("everything")


def test_a_handled_restart_stays_when_its_annotation_is_removed() -> None:
    found = read(resource({"chat": "one"}), COMPONENTS)
    assert found.restarts == {"chat": "one"}
    assert found.status() == {"commands": {"restarts": {"chat": "one"}}}
    assert read(resource({"chat": "one"}, restart_chat="two"), COMPONENTS).restarts == {
        "chat": "two"
    }


def test_the_restart_of_a_removed_component_is_forgotten() -> None:
    assert read(resource({"edge": "one"}), COMPONENTS).status() == {}


def test_a_long_token_is_replaced_by_its_digest() -> None:
    (stamp,) = read(resource(restart_chat="x" * 1000), COMPONENTS).restarts.values()
    assert stamp.startswith("sha256:")
    assert len(stamp) <= 64


def test_an_unknown_component_is_reported_with_the_known_ones() -> None:
    found = read(resource(restart_chta="now"), COMPONENTS)
    status, reason, message = found.findings[ConditionType.COMMANDS_HANDLED]
    assert (status, reason) == ("False", "UnknownComponent")
    assert "ashchat.dev/restart-chta" in message
    assert "rabbitmq, chat, auth" in message
    assert not found.restarts


def test_a_restart_waits_while_paused() -> None:
    found = read(resource({"auth": "one"}, restart_chat="now", pause="true"), COMPONENTS)
    status, reason, message = found.findings[ConditionType.COMMANDS_HANDLED]
    assert (status, reason) == ("False", "Paused")
    assert message.startswith("chat:")


FINE = [Component(name, ready=True, reason="Available") for name in COMPONENTS]
FORMER: dict[str, Any] = {
    "observedGeneration": 2,
    "commands": {"restarts": {"chat": "one"}},
    "conditions": [
        {
            "type": kind,
            "status": status,
            "reason": "x",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 2,
        }
        for kind, status in {
            "Ready": "True",
            "TopologyReady": "True",
            "Degraded": "False",
            "Paused": "False",
        }.items()
    ],
}


def paused(components: list[Component], former: dict[str, Any] | None = None) -> dict[str, Any]:
    commands = Commands(paused=True, components=COMPONENTS)
    return paused_status(FORMER if former is None else former, components, commands, LATER)


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [item for item in status["conditions"] if item["type"] == kind]
    return dict(found)


def test_while_paused_only_the_state_of_components_is_updated() -> None:
    said = paused(FINE)
    assert said["observedGeneration"] == 2, "a newer spec was not applied"
    assert said["commands"] == FORMER["commands"]
    assert condition(said, "Paused")["status"] == "True"
    assert condition(said, "Paused")["lastTransitionTime"] == LATER
    assert condition(said, "Ready")["status"] == "True"
    assert condition(said, "Ready")["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    gone = [Component("rabbitmq", ready=False, reason="Missing"), *FINE[1:]]
    said = paused(gone)
    assert condition(said, "Ready")["reason"] == "ComponentsNotReady"
    assert said["componentsReady"] == "2/3"
    assert paused(FINE, said)["conditions"] == paused(FINE)["conditions"] or (
        condition(paused(FINE, said), "Ready")["status"] == "True"
    )


def test_the_paused_status_is_idempotent() -> None:
    said = paused(FINE)
    assert paused_status(said, FINE, Commands(paused=True, components=COMPONENTS), "x") == said


def test_a_resource_without_a_status_can_be_paused() -> None:
    said = paused([Component("chat", ready=False, reason="Missing")], {})
    assert condition(said, "Ready")["status"] == "False"


def test_pause_resume_and_restart_emit_events() -> None:
    def events(former: dict[str, Any], status: dict[str, Any]) -> list[tuple[str, bool]]:
        return [(event.reason, event.normal) for event in transitions(former, status)]

    assert events(FORMER, paused(FINE)) == [("Paused", True)]
    assert events(paused(FINE), FORMER) == [("Resumed", True)]
    restarted = {**FORMER, "commands": {"restarts": {"chat": "two"}}}
    assert events(FORMER, restarted) == [("Restarted", True)]
