"""Which lists of namespaces the settings accept."""

import pytest
from pydantic import ValidationError

from ashchat_operator.settings import Settings

LISTS = ("watch_namespaces", "exclude_namespaces")


@pytest.mark.parametrize("which", LISTS)
@pytest.mark.parametrize(
    "text", ["team-*", "!one", "one,team-?", "one two", "Team", "one;two", "one,,two", ",", "one\n"]
)
def test_a_namespace_pattern_is_rejected(which: str, text: str) -> None:
    with pytest.raises(ValidationError, match=which):
        Settings.model_validate({which: text})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("  ", ()),
        ("one", ("one",)),
        ("team-1,team-2", ("team-1", "team-2")),
        (" one , two ", ("one", "two")),
        ("one, two,", ("one", "two")),
    ],
)
def test_a_list_of_namespaces_may_contain_spaces(text: str, names: tuple[str, ...]) -> None:
    told = Settings(watch_namespaces=text, exclude_namespaces=text)
    assert told.namespaces == names
    assert told.excluded == frozenset(names)
