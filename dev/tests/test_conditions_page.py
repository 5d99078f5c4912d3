"""docs/reference/conditions.md lists every condition type and reason, and is current."""

import re

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.reasons import Reason
from ashchat_dev.conditions_page import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m ashchat_dev.conditions_page"


def test_every_member_has_a_row_with_its_meaning() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", page(), re.MULTILINE))
    assert listed == {*map(str, ConditionType), *map(str, Reason)}
    assert all(kind.meaning.endswith(".") for kind in ConditionType)
    assert all(reason.meaning.endswith(".") for reason in Reason)
    assert all(reason.action.endswith((".", "")) for reason in Reason)


def test_a_reason_names_the_conditions_that_it_occurs_in() -> None:
    elsewhere = {"component", "ashchat-operator topology check", "kubectl ashchat status"}
    for reason in Reason:
        assert set(reason.where.split(", ")) <= {*map(str, ConditionType), *elsewhere}, reason
