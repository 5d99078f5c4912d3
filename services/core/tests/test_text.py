"""What people type is understood, and what is displayed deceives nobody."""
# ruff: noqa: RUF001 (characters that look like others are the subject)

import contextlib
import time
import unicodedata
from collections.abc import Callable

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from ashchat_core import text
from ashchat_core.text import UnacceptableTextError

EMOJI = "👩\u200d💻 👨🏽\u200d🚀 ❤\ufe0f 1\ufe0f\u20e3 🇪🇸"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (" Ana\t", "Ana"),
        ("Ana\u00a0 María", "Ana María"),
        ("Ana\u2800", "Ana"),
        ("A\u3164B", "A B"),
        ("Jose\u0301", "José"),
        ("\ufeffAna\u200b", "Ana"),
        ("A\u00adn\u200ba\u2060", "Ana"),
        ("A\u200dn\u200ca", "Ana"),
        ("Ana\ufe0f", "Ana\ufe0f"),
        ("\ufe0fAna\u200f", "Ana"),
        ("x\U000e0041\U000e0042", "x"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क\u094d\u200dष", "क\u094d\u200dष"),
        ("م\u200c\u200c \u200d", "م"),
        (
            "👩\u200d💻 👨🏽\u200d🚀 ❤\ufe0f 1\ufe0f\u20e3 🇪🇸",
            "👩\u200d💻 👨🏽\u200d🚀 ❤\ufe0f 1\ufe0f\u20e3 🇪🇸",
        ),
        (f"{ENGLAND}!", f"{ENGLAND}!"),
        ("שלום\u200f!", "שלום\u200f!"),
        ("\u2067عربي\u2069 (Ana)", "\u2067عربي\u2069 (Ana)"),
        ("\u202bا\u202aa\u202cب\u202c", "\u202bا\u202aa\u202cب\u202c"),
        ("ﷺ", "ﷺ"),
        (".", "."),
        ("\ud7a3\u1160", "\ud7a3"),
        # A letter since Unicode 17; Python's own tables may be older.
        ("\u208f", "\u208f"),
    ],
)
def test_a_name_is_understood(typed: str, stored: str) -> None:
    assert text.line(typed) == stored


INVISIBLE = [
    "", " ", "\u200b\u200b", "\u3164", "\u2800", "\u00ad", "\uffa0", "\u115f\u1160", "\u180e",
    "\u200d", "\ufe0f", "\u200f", "\u2067\u2069", "\u034f", "\u2063", "\U000e0041", "\u0301",
    "\ufeff\u2060", "\u17b4", "\U000e0100", "\u3164\u2800 \u200b",
]  # fmt: skip


@pytest.mark.parametrize("typed", INVISIBLE, ids=ascii)
def test_a_name_that_nobody_sees_is_refused(typed: str) -> None:
    with pytest.raises(UnacceptableTextError):
        text.line(typed)
    assert text.optional_line(typed) == ""
    assert text.paragraphs(typed) == ""


@pytest.mark.parametrize(
    "typed",
    [
        "Ana\r\nBcc: x", "Ana\nx", "Ana\u2028x", "Ana\x00x", "Ana\x1b[1m", "Ana\x7fx", "Ana\x85x",
        "Ana\u202excod.exe", "Ana\u202dx", "Ana\u2066x", "Ana\u2069x", "Ana\u202ax", "Ana\u202cx",
        "a\u2067b\u202ac\u2069d\u202c", "Ana\ud800x", "Ana\ufffex", "Ana\ufdd0x", "a\ufff9b\ufffbx",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_name_that_deceives_is_refused(typed: str) -> None:
    for rule in (text.line, text.optional_line):
        with pytest.raises(UnacceptableTextError):
            rule(typed)


def test_a_description_has_lines_each_with_its_own_direction() -> None:
    assert text.paragraphs(" a\r\nb\u2028c\td\n ") == "a\nb\nc d"
    assert text.paragraphs("\u2067ا\u2069\nb") == "\u2067ا\u2069\nb"
    for typed in ("\u2067ا\nb\u2069", "a\x00b", "a\u202eb"):
        with pytest.raises(UnacceptableTextError):
            text.paragraphs(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "123456", " 123456\n", "123 456", "123-456", "123\u2013456", "12\u00a034\u202f56",
        "123.456",
        "１２３４５６", "١٢٣٤٥٦", "۱۲۳۴۵۶", "१२३४५६", "\u200b123456\ufeff", "1\u2060234\u00ad56",
        "𝟏𝟐𝟑𝟒𝟓𝟔",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_code_is_understood_as_people_type_and_paste_it(typed: str) -> None:
    assert text.code(typed) == "123456"


def test_something_else_does_not_become_a_code() -> None:
    for typed in ("12345a", "12345", "1234567", "12,3456", "½23456", "一二三四五六"):
        assert text.code(typed) != "123456"
    assert text.letters_code(" K3FW\u201309ra TM2X\u00a0ｃ81ｚ ") == "k3fw09ratm2xc81z"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (" Ana@Example.ORG\n", "Ana@example.org"),
        ("ana@bücher.example", "ana@xn--bcher-kva.example"),
        ("ana@BÜCHER.example", "ana@xn--bcher-kva.example"),
        ("ana@xn--bcher-kva.example", "ana@xn--bcher-kva.example"),
        ("ana@zo\u0308l.example", "ana@xn--zl-fka.example"),
        ("ａｎａ＠ｅｘａｍｐｌｅ．org", "ana@example.org"),
        ("\ufeffana@example.org\u200b", "ana@example.org"),
        ("ana@exam\u00adple.org", "ana@example.org"),
        ("Ana.O'Brien+chat@intranet.local", "Ana.O'Brien+chat@intranet.local"),
    ],
)
def test_an_address_is_understood(typed: str, stored: str) -> None:
    assert text.address(typed) == stored
    assert text.address_key(stored) == stored.lower()


@pytest.mark.parametrize(
    "typed",
    ["", "ana", "ana@", "用户@example.org", "a@b\n@c.org", "ana@exa mple.org", "a\u202e@x.org"],
    ids=ascii,
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(UnacceptableTextError):
        text.address(typed)


def test_a_tag_is_understood_as_people_write_it() -> None:
    assert {text.tag(typed) for typed in (" @Ana_92QS ", "ana_92qs\u200b", "ＡＮＡ_92qs")} == {
        "ana_92qs"
    }


ODD = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from(
            "aا \n\u200b\u200c\u200d\u2067\u2069\u202a\u202c\ufe0f\u3164\u2800👩\u0301"
        ),
        st.sampled_from("\U0001f3f4\U000e0067\U000e007f\u00ad\u0345\u093f"),
    ),
    max_size=30,
)


@given(ODD)
def test_what_is_stored_stays_as_it_is_and_can_be_seen(typed: str) -> None:
    for rule in (text.line, text.paragraphs):
        try:
            stored = rule(typed)
        except UnacceptableTextError:
            continue
        assert rule(stored) == stored
        assert unicodedata.is_normalized("NFC", stored)
        assert stored == stored.strip()
        if stored:
            assert regex.search(r"[^\p{C}\p{Z}\p{M}]", stored)


RULES: list[Callable[[str], str]] = [text.line, text.paragraphs, text.code, text.tag, text.address]


@pytest.mark.parametrize(
    "repeated",
    [
        "a", " ", "\u200d", "م\u200c", "م\u064b", "\U000e0041", "a\ufe0f", "\u2067",
        "\u2067\u2069", "\n",
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_four_times_the_text_costs_about_four_times_as_much(
    rule: Callable[[str], str], repeated: str
) -> None:
    def seconds(times: int) -> float:
        typed = f"م{repeated * times}\u200dx"
        started = time.process_time()
        with contextlib.suppress(UnacceptableTextError):
            rule(typed)
        return time.process_time() - started

    short = min(seconds(2_000) for _ in range(3))
    long = min(seconds(8_000) for _ in range(3))
    assert long < 4 * short * 2.5 + 0.01
