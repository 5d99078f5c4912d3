from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from ashchat_core import messages
from ashchat_core.messages import AccountConfirmed, Message

BODIES = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
]


@pytest.mark.parametrize("kind", BODIES)
def test_every_body_is_frozen_refuses_what_it_does_not_know_and_hides_its_input(
    kind: type[Message],
) -> None:
    assert kind.model_config["frozen"]
    assert kind.model_config["extra"] == "forbid"
    assert kind.model_config["hide_input_in_errors"]


def test_a_later_version_is_refused() -> None:
    with pytest.raises(ValidationError):
        AccountConfirmed.model_validate({"v": 2, "user_id": "u", "tag_user_id": "t"})


def test_an_error_does_not_show_what_was_sent() -> None:
    with pytest.raises(ValidationError) as error:
        AccountConfirmed.model_validate({"v": 1, "user_id": ["hunter2"], "tag_user_id": "t"})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("kind", BODIES)
def test_every_time_of_a_body_is_one_that_services_can_compare_and_add_to(
    kind: type[Message],
) -> None:
    for name, field in kind.model_fields.items():
        if "datetime" in str(field.annotation):
            times: TypeAdapter[datetime] = TypeAdapter(field.rebuild_annotation())
            found = times.validate_python("2026-01-01T01:00:00+01:00")
            assert (found, found.tzinfo) == (datetime(2026, 1, 1, tzinfo=UTC), UTC), name
            for at in (
                "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59-14:00",
                "1969-12-31T23:59:59Z",
                "9000-01-01T00:00:00Z",
                "2026-01-01T00:00:00",
            ):
                with pytest.raises(ValidationError):
                    times.validate_python(at)
