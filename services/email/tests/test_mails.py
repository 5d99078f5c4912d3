import re
import string
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import get_args

import pytest

from ashchat_core.messages import SecurityEventKind
from ashchat_email.mails import CodeKind, Kind, Mail, TakenKind, compose, languages, words

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
WITH_CODE: tuple[Kind, ...] = get_args(CodeKind)
WITHOUT_CODE: tuple[Kind, ...] = (*get_args(TakenKind), *get_args(SecurityEventKind))
KINDS = (*WITH_CODE, *WITHOUT_CODE)
LANGUAGES = sorted(languages())
RIGHT_TO_LEFT = [tag for tag in LANGUAGES if words(tag)["common"]["direction"] == "rtl"]

FSI, PDI = "\u2068", "\u2069"


def mail(kind: Kind = "sign_up", language: str = "es", name: str = "Ana") -> Mail:
    code = "123456" if kind in WITH_CODE else None
    return Mail(kind, "ana@example.org", name, language, code, "id", AT, "eva@example.org")


def text(message: Mail) -> tuple[str, str]:
    made = compose(message, sender="AshChat <no-reply@example.org>", product="AshChat", minutes=10)
    plain, html = made.iter_parts()
    return plain.get_content(), html.get_content()


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def sentences(language: str) -> Iterator[tuple[str, str, str]]:
    for section, entries in words(language).items():
        for key, sentence in entries.items():
            yield section, key, sentence


class Shown(HTMLParser):
    """What a reader sees of a body."""

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._open.append(tag)
        if tag == "p":
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "p" in self._open:
            self.paragraphs[-1] += data


def test_the_languages_of_today_are_there() -> None:
    assert {"en", "es", "pt", "ar"} <= languages()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_file_says_everything_with_the_same_placeholders(language: str) -> None:
    assert words(language).keys() == {"common", *KINDS}
    english = {(section, key): value for section, key, value in sentences("en")}
    own = {(section, key): value for section, key, value in sentences(language)}
    assert own.keys() == english.keys()
    for place, sentence in own.items():
        assert placeholders(sentence) == placeholders(english[place]), place
        assert sentence == sentence.strip() != "", place
    assert words(language)["common"]["language"] == language
    assert words(language)["common"]["direction"] in {"ltr", "rtl"}


@pytest.mark.parametrize("language", [tag for tag in LANGUAGES if tag != "en"])
def test_no_language_file_was_left_in_english(language: str) -> None:
    english = {(section, key): value for section, key, value in sentences("en")}
    same = [
        (section, key)
        for section, key, value in sentences(language)
        if section != "common" and value == english[section, key]
    ]
    assert not same


def test_no_english_article_depends_on_the_product_s_name() -> None:
    """It would be wrong for half of the names: "a AshChat account"."""
    article = re.compile(r"\ban? \{product\}", re.IGNORECASE)
    assert [place for *place, value in sentences("en") if article.search(value)] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_both_parts_of_every_mail_in_every_language_say_the_same(kind: Kind, language: str) -> None:
    plain, html = text(mail(kind, language))
    shown = Shown()
    shown.feed(html)
    lines = [line.strip() for line in plain.translate({0x2068: "", 0x2069: ""}).split("\n\n")]
    assert lines == shown.paragraphs
    assert ("123456" in plain) == (kind in WITH_CODE)
    assert "{" not in plain
    direction = words(language)["common"]["direction"]
    assert html.count(f'<html lang="{language}" dir="{direction}">') == 1
    assert html.count(f'<div lang="{language}" dir="{direction}"') == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_subject_says_what_it_is_about_without_the_code(kind: Kind, language: str) -> None:
    made = compose(mail(kind, language), sender="A <a@b.org>", product="AshChat", minutes=10)
    assert "AshChat" in made["Subject"]
    assert "123456" not in made["Subject"]
    assert len(made["Subject"]) <= 70
    assert made["Content-Language"] == language
    subjects = {words(language)[other]["subject"] for other in KINDS}
    assert len(subjects) == len(KINDS)


def test_a_code_mail_has_exactly_one_number_of_six_digits() -> None:
    for kind in KINDS:
        plain, _ = text(mail(kind, "en"))
        assert len(re.findall(r"(?<!\d)\d{6}(?!\d)", plain)) == (kind in WITH_CODE)


@pytest.mark.parametrize("language", RIGHT_TO_LEFT)
@pytest.mark.parametrize("kind", KINDS)
def test_right_to_left_text_begins_so_and_isolates_what_runs_the_other_way(
    kind: Kind, language: str
) -> None:
    plain, html = text(mail(kind, language))
    for paragraph in plain.strip().split("\n\n"):
        # Programs that set text find the direction by its first strong letter.
        strong = [
            unicodedata.bidirectional(letter)
            for letter in paragraph
            if unicodedata.bidirectional(letter) in {"L", "R", "AL"}
        ]
        assert not strong or strong[0] in {"R", "AL"}, paragraph
        outside = re.sub(f"{FSI}[^{PDI}]*{PDI}", "", paragraph)
        assert not re.search("[A-Za-z@]", outside), paragraph
        assert paragraph.count(FSI) == paragraph.count(PDI)
    assert "text-align:right" in html
    assert "text-align:left" not in html
    if kind in WITH_CODE:
        assert '<span dir="ltr"' in html
    else:
        assert "<bdi>2026-01-02 03:04 UTC</bdi>" in html


def test_left_to_right_text_has_no_marks_but_around_a_name_that_needs_them() -> None:
    plain, _ = text(mail("sign_up", "en"))
    assert FSI not in plain
    plain, html = text(mail("sign_up", "en", "ليلى"))
    assert plain.startswith(f"Hello {FSI}ليلى{PDI},")
    assert "<bdi>ليلى</bdi>" in html


def test_a_name_cannot_put_markup_into_a_mail() -> None:
    plain, html = text(mail(name="<b>x"))
    assert "<b>x" in plain
    assert "<b>x" not in html
    assert "&lt;b&gt;x" in html


def test_a_name_cannot_put_a_header_into_a_mail() -> None:
    made = compose(
        mail(name="x\r\nBcc= all"), sender="AshChat <a@b.org>", product="AshChat", minutes=10
    )
    assert made["Bcc"] is None
    assert "x\r\n" not in made.as_string()


def test_a_name_cannot_reorder_the_text_around_it() -> None:
    plain, html = text(mail("sign_up", "en", "\u202eanA\u2069"))
    assert plain.startswith("Hello anA,")
    assert "\u202e" not in html


@pytest.mark.parametrize(
    "name",
    ["Win at www.example.com", "http://example.com", "eva@example.org", "x" * 65, " ", "\u200f"],
)
def test_a_name_cannot_make_a_mail_carry_a_link_or_a_letter(name: str) -> None:
    plain, html = text(mail("sign_up", "en", name))
    assert plain.startswith("Hello,\n")
    assert name.strip("\u200f ") == "" or name not in html


def test_a_name_with_braces_is_just_a_name() -> None:
    plain, _ = text(mail("sign_up", "en", "{product} {0}"))
    assert plain.startswith("Hello {product} {0},")


def test_the_old_end_learns_the_new_address_and_the_new_end_not_the_old() -> None:
    assert "eva@example.org" in text(mail("change_old", "en"))[0]
    assert "eva@example.org" not in text(mail("change_new", "en"))[0]


def test_an_unknown_language_gets_english() -> None:
    assert words("tlh") == words("en")
    assert words("pt-BR") == words("pt") == words("pt_br")


def test_the_same_mail_twice_has_the_same_message_id() -> None:
    made = [compose(mail(), sender="A <a@b.org>", product="AshChat", minutes=10) for _ in range(2)]
    assert made[0]["Message-ID"] == made[1]["Message-ID"] == "<id@b.org>"


def test_an_address_beyond_ascii_can_be_composed() -> None:
    made = compose(
        Mail("reset", "josé@example.org", "José", "es", "123456", "id", AT),
        sender="A <a@b.org>",
        product="AshChat",
        minutes=10,
    )
    assert made["To"].addresses[0].addr_spec == "josé@example.org"
