import pytest
from pydantic import ValidationError

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
