"""The one rule of language tags: spelling, bounds, and which tags a reader understands alike."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ashchat_core import languages


@pytest.mark.parametrize(
    ("given", "is_"),
    [
        ("ES", "es"),
        (" pt-BR ", "pt-BR"),
        ("pt_br", "pt-BR"),
        ("zh-tw", "zh-TW"),
        ("ZH-HANT-hk", "zh-Hant-HK"),
        ("zh_Hans_CN", "zh-Hans-CN"),
        ("sr-latn", "sr-Latn"),
        ("es-419", "es-419"),
        ("iw", "he"),  # withdrawn codes become their successors
        ("in", "id"),
        ("spa", "es"),  # ISO 639-3, where ISO 639-1 has a shorter code
        ("de-DE-u-co-phonebk", "de-DE"),  # what does not choose a translation is dropped
        ("de-1996", "de"),
        ("en-x-private", "en"),
    ],
)
def test_a_tag_gets_its_canonical_spelling(given: str, is_: str) -> None:
    assert languages.canonical(given) == is_


NO_TAGS = (
    None, "", " ", "no tag!", "a.b", "$es", "e", "es-", "-es", "qq-notregistered", "x-private",
    "zxx", "en|es", "es es", "x" * 40, "en" + "-aaaaaaaa" * 3_000,
)  # fmt: skip


@pytest.mark.parametrize("given", NO_TAGS)
def test_what_is_not_a_tag_is_unknown(given: str | None) -> None:
    assert languages.canonical(given) == languages.UNKNOWN


@given(
    st.one_of(st.text(max_size=60), st.from_regex(re.compile(r"[a-zA-Z]{2,3}([-_]\w{1,8}){0,4}")))
)
@example("en-" + "aaaaaaaa-" * 3_000)
@example("en" + "-variant1" * 3)
def test_a_tag_is_bounded_and_stable(text: str) -> None:
    tag = languages.canonical(text)
    assert len(tag) <= 12
    assert languages.canonical(tag) == tag
    assert languages.language(tag)
    assert languages.script(tag)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("es", "es", True),
        ("pt", "pt-BR", True),
        ("es", "pt", False),
        ("zh", "zh-Hans", True),
        ("zh-TW", "zh-Hant", True),
        ("zh-TW", "zh-HK", True),
        ("zh-TW", "zh-CN", False),
        ("zh-Hans", "zh-Hant", False),
        ("cmn-Hans", "zh", True),
        ("sr", "sr-Cyrl", True),
        ("sr-Latn", "sr-Cyrl", False),
        ("uz-Latn", "uz-Cyrl", False),
        ("pa-Guru", "pa-Arab", False),
        ("pa-PK", "pa-Arab", True),
        ("not a tag", "not a tag", True),
        ("not a tag", "en", False),
        ("nb", "nn", False),
        ("und", "und", True),
        ("und", "en", False),
    ],
)
def test_a_reader_understands_one_language_in_one_script(
    one: str,
    other: str,
    same: bool,  # noqa: FBT001
) -> None:
    assert languages.same(one, other) is same
    assert languages.same(other, one) is same


def test_targets_are_the_readers_languages_except_the_source() -> None:
    assert languages.targets("es", ["en", "es-MX", "de", "en", "und"]) == ("de", "en")
    assert languages.targets("und", ["en", "es"]) == ("en", "es")
    assert languages.targets("sr-Cyrl", ["sr-Latn", "sr"]) == ("sr-Latn",)


@pytest.mark.parametrize(
    ("tag", "code"), [("es-MX", "spa"), ("zh-Hant", "zho"), ("nb", "nob"), ("sc", "srd")]
)
def test_iso_639_3(tag: str, code: str) -> None:
    assert languages.iso_639_3(tag) == code


def test_the_usual_script() -> None:
    assert languages.has_usual_script("sr")
    assert not languages.has_usual_script("sr-Latn")
    assert languages.has_usual_script("zh-CN")
    assert not languages.has_usual_script("zh-TW")
