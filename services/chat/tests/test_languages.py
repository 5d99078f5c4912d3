import pytest

from ashchat_chat import languages


@pytest.mark.parametrize(
    ("given", "is_"),
    [("ES", "es"), (" pt-BR ", "pt-BR"), ("zh-TW", "zh-TW"), ("", "und"), (None, "und"),
     ("no tag!", "und"), ("x" * 40, "und"), ("a.b", "und"), ("$es", "und")],
)  # fmt: skip
def test_normalise(given: str | None, is_: str) -> None:
    assert languages.normalise(given) == is_


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("es", "es", True), ("pt", "pt-BR", True), ("es", "en", False), ("zh-TW", "zh-CN", False),
     ("zh", "zh", True)],
)  # fmt: skip
def test_same(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert languages.same(one, other) is same


def test_only_what_somebody_reads_and_is_not_the_source_is_wanted() -> None:
    assert languages.wanted("es", ["en", "es-MX", "de", "en", "und"]) == ("de", "en")
    assert languages.wanted("und", ["en", "es"]) == ("en", "es")
