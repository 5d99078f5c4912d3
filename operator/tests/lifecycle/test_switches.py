"""A switch of a backend must be confirmed; until then the previous one stays in use."""

from typing import Any

import pytest

from ashchat_core.api.names import Annotation
from ashchat_operator.backends.base import Backend
from ashchat_operator.backends.external import blocks
from ashchat_operator.lifecycle import switches
from ashchat_operator.resource.model import AshChat

OUTSIDE: dict[str, Any] = {"external": {"connectionSecretRef": {"name": "mine"}, "prefix": "x-"}}
SET = {("StatefulSet", "demo-mongodb"): {"kind": "StatefulSet"}}


def body(annotation: str = "", status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "demo", "namespace": "ashchat", "uid": "u", "generation": 1}
    if annotation:
        metadata["annotations"] = {Annotation.ALLOW_SWITCH: annotation}
    smtp = {"host": "h", "from": "a@b"}
    return {
        "metadata": metadata,
        "spec": {"email": {"smtp": smtp}, **spec},
        "status": status or {},
    }


def decide(asked: dict[str, Any], live: dict[Any, Any] | None = None) -> switches.SwitchDecision:
    return switches.decide(AshChat.parse(asked), live or {})


def after(first: dict[str, Any]) -> dict[str, Any]:
    """Return the status after a reconcile pass."""
    return {"backends": decide(first).backends}


def test_a_new_resource_needs_no_confirmation() -> None:
    made = decide(body(mongodb=OUTSIDE))
    assert not made.held
    assert set(blocks(made.ash)) == {Backend.MONGODB}
    assert made.backends["rabbitmq"] == {"kind": "Managed"}
    assert made.backends["mongodb"]["kind"] == "External"


def test_a_switch_to_external_waits_and_the_managed_backend_stays_in_use() -> None:
    found = decide(body(status=after(body()), mongodb=OUTSIDE))
    assert not blocks(found.ash)
    assert found.backends["mongodb"] == {"kind": "Managed"}
    (says,) = found.held
    assert "all accounts and conversations" in says
    assert "ashchat.dev/allow-switch=mongodb:External" in says


def test_a_switch_to_managed_waits_and_the_external_backend_stays_in_use() -> None:
    found = decide(body(status=after(body(mongodb=OUTSIDE))))
    block = blocks(found.ash)[Backend.MONGODB]
    assert (block.connection_secret_ref.name, block.prefix) == ("mine", "x-")
    assert "the spec switches mongodb from External to Managed" in found.held[0]


@pytest.mark.parametrize("word", ["mongodb:External", "redis:External, mongodb:external"])
def test_a_confirmed_switch_is_made(word: str) -> None:
    found = decide(body(word, after(body()), mongodb=OUTSIDE))
    assert not found.held
    assert set(blocks(found.ash)) == {Backend.MONGODB}


@pytest.mark.parametrize("word", ["yes", "redis:External", "mongodb:Managed", "mongodb"])
def test_another_value_does_not_confirm(word: str) -> None:
    assert decide(body(word, after(body()), mongodb=OUTSIDE)).held


def test_the_confirmation_of_a_switch_does_not_confirm_the_reverse() -> None:
    there = body("mongodb:External", after(body()), mongodb=OUTSIDE)
    assert decide(body("mongodb:External", after(there))).held


def test_without_a_status_the_running_workloads_decide() -> None:
    asked = body(mongodb=OUTSIDE)
    assert not decide(asked).held
    assert decide(asked, SET).held


def test_another_secret_or_external_server_is_no_switch() -> None:
    other = {"external": {"connectionSecretRef": {"name": "other"}, "prefix": "x-"}}
    found = decide(body(status=after(body(redis=OUTSIDE)), redis=other))
    assert not found.held
    assert blocks(found.ash)[Backend.REDIS].connection_secret_ref.name == "other"


def test_the_cache_switches_without_confirmation() -> None:
    cache = {"cache": OUTSIDE}
    assert not decide(body(status=after(body()), translate=cache)).held
