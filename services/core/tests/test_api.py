"""The vocabulary: members are plain strings, and unique."""

import json

from ashchat_core.api.conditions import ConditionStatus, ConditionType, Finding
from ashchat_core.api.names import Annotation, Label, restart_annotation, rotate_annotation
from ashchat_core.api.reasons import EventReason, Reason


def test_members_are_serialised_as_their_values() -> None:
    body = {Label.COMPONENT: ConditionType.READY, "reason": Reason.UP_TO_DATE}
    assert json.loads(json.dumps(body)) == {
        "app.kubernetes.io/component": "Ready",
        "reason": "UpToDate",
    }
    assert f"{Annotation.PAUSE}" == "ashchat.dev/pause"


def test_no_value_stands_twice() -> None:
    for members in (Label, Annotation, ConditionType, ConditionStatus, Reason, EventReason):
        assert len({member.value for member in members}) == len(members.__members__)


def test_a_type_of_another_version_is_not_known() -> None:
    assert ConditionType.parse("Ready") is ConditionType.READY
    assert ConditionType.parse("LaterInvention") is None


def test_a_finding_compares_with_what_a_status_holds() -> None:
    assert Finding(ConditionStatus.TRUE, Reason.READY) == ("True", "Ready", "")


def test_annotations_of_one_component_or_credential() -> None:
    assert restart_annotation("chat") == "ashchat.dev/restart-chat"
    assert rotate_annotation("users") == "ashchat.dev/rotate-users"
