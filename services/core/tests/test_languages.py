import pytest

from ashchat_core import languages


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
def test_same_reader(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert languages.same_reader(one, other) is same


def test_targets_are_the_readers_languages_except_the_source() -> None:
    assert languages.targets("es", ["en", "es-MX", "de", "en", "und"]) == ("de", "en")
    assert languages.targets("und", ["en", "es"]) == ("en", "es")


@pytest.mark.parametrize(
    ("tag", "normal"),
    [
        ("es", "es"),
        (" PT_br ", "pt-br"),
        ("zh-Hant", "zh-hant"),
        ("", None),
        ("e", None),
        ("x|y", None),
    ],
)
def test_lower(tag: str, normal: str | None) -> None:
    assert languages.lower(tag) == normal


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("pt", "pt-br", True),
        ("es", "pt", False),
        ("zh", "zh-hans", True),
        ("zh-cn", "zh-tw", False),
        ("zh-hant", "zh-hk", True),
    ],
)
def test_same_script(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert languages.same_script(one, other) is same
