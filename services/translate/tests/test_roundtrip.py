"""A message through engines of all kinds: what must not change comes back byte for byte."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pyromark
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engines
from ashchat_translate.document import parse
from ashchat_translate.roundtrip import Result, RoundTrip
from ashchat_translate.tokens import BRACKETS, WORDS

EXAMPLES: Final = json.loads(
    (Path(__file__).parent / "data" / "commonmark_examples.json").read_text(encoding="utf-8")
)
CLIENT_OPTIONS: Final = (
    pyromark.Options.ENABLE_TABLES
    | pyromark.Options.ENABLE_STRIKETHROUGH
    | pyromark.Options.ENABLE_TASKLISTS
)
"""Markdown as a client renders it: without our formulas."""


def through(text: str, engine: engines.Engine, style: str = "words") -> Result:
    """Send a message through an engine."""
    trip = RoundTrip(parse(text, "es"), engines.STYLES[style])
    return trip.finish(engines.answers(trip.texts, engine))


class Rendered(HTMLParser):
    """What a reader's client makes of a message, apart from its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.blocks: list[str] = []
        self.elements: Counter[tuple[str, tuple[tuple[str, str | None], ...]]] = Counter()
        self.code: Counter[str] = Counter()
        self._in_code = 0
        self.feed(pyromark.html(text, options=CLIENT_OPTIONS))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, tuple(attrs)] += 1
        if tag in {"p", "li", "ul", "ol", "pre", "blockquote", "h1", "h2", "h3", "td", "th", "hr"}:
            self.blocks.append(tag)
        self._in_code += tag in {"code", "pre"}

    def handle_endtag(self, tag: str) -> None:
        self._in_code -= tag in {"code", "pre"}

    def handle_data(self, data: str) -> None:
        if self._in_code > 0:
            self.code[data] += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rendered) and (self.blocks, self.elements, self.code) == (
            other.blocks, other.elements, other.code,
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self.blocks} {self.elements} {self.code}"


@pytest.mark.parametrize(
    ("name", "style"), [*((name, "words") for name in engines.HOSTILE), ("good", "brackets")]
)
def test_every_example_of_commonmark_keeps_its_structure(name: str, style: str) -> None:
    for example in EXAMPLES:
        result = through(example, engines.HOSTILE[name], style)
        assert Rendered(result.text) == Rendered(example), (example, result.text)


def test_commonmarks_examples_are_translated() -> None:
    """Otherwise the test above would show nothing."""
    results = [through(example, engines.shout) for example in EXAMPLES]
    changed = [
        result for result, text in zip(results, EXAMPLES, strict=True) if result.text != text
    ]
    assert len(changed) > len(EXAMPLES) / 3


@pytest.mark.parametrize("text", [*EXAMPLES, "a\u0000b", "\r\n\r", "\ufeffx", "\U000f0000 x"])
def test_a_message_is_the_sum_of_its_parts(text: str) -> None:
    assert parse(text, "en").source == text


PROSE: Final = {
    "en": "Come to the big house", "es": "Ven a la casa grande", "fr": "Viens à la grande maison",
    "pt": "Vem à casa grande", "de": "Komm in das große Haus", "it": "Vieni alla casa grande",
    "nl": "Kom naar het grote huis", "ru": "Приходи в большой дом", "ja": "大きな家に来てください",
    "zh": "请来大房子里", "ko": "큰 집으로 오세요", "ar": "تعال إلى البيت الكبير",
    "tr": "Büyük eve gel", "hi": "बड़े घर में आओ", "bn": "বড় বাড়িতে এসো",
    "ur": "بڑے گھر میں آؤ", "vi": "Hãy đến ngôi nhà lớn",
}  # fmt: skip
"""A sentence in each of the client's languages."""

ATOMS: Final = (
    "`rm -rf casa`", "``mi `casa` grande``", "https://example.org/Mi-Casa/_perro_?x=*1*&y=casa",
    "HTTPS://EXAMPLE.ORG/Mi-Casa/Perro", "Www.Example.org/Casa", "ftp://example.org/casa",
    "example.org/mi-casa", "https://en.wikipedia.org/wiki/Rust_(lenguaje)",
    "<https://example.org/casa>", "ana.luz+x@correo.example", "@ana.luz", "#general-2",
    "@ana@social.example", ":thumbs_up:", "👨‍👩‍👧", "👋🏽", "❤️", "🇪🇸", "1️⃣",
    r"C:\Usuarios\casa", r"\\servidor\casa\perro.txt", "/home/casa/perro.txt", "~/casa/perro",
    "../casa/x", r"$\frac{casa}{perro}$", r"\(casa^2\)", r"\sqrt{casa}", "{{nombre}}", "${casa}",
    "{casa}", "%s", "%(casa)d", "{% if casa %}", "<%= casa %>", "[[mi casa]]", "$HOME",
    "<@U123>", "<#C1|casa>", "<:casa:123>", "<!here>",
    "2*3=6", "2**8", "casa_grande", "miCasa", "casa()", "Casa::perro", "B2B", "v1.2.3", "3kg",
    "casa.tar.gz", "--casa", "<code>mi casa</code>", "![mi perro](casa.png)", "&amp;", r"\*",
    "⟦0⟧", "Xqaa", "\ue000", "<br>",
)  # fmt: skip
"""What must come back byte for byte."""

FRAMES: Final = ("{}", "**{}**", "*{}*", "~~{}~~", "[{}](https://a.example/casa 'mi casa')", "({})")


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Return a chat message and the atoms in it."""
    lines: list[str] = []
    kept: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        words: list[str] = []
        for _ in range(draw(st.integers(1, 4))):
            if draw(st.booleans()):
                atom = draw(st.sampled_from(ATOMS))
                kept.append(atom)
                words.append(atom)
            else:
                prose = PROSE[draw(st.sampled_from(sorted(PROSE)))]
                prose += draw(st.sampled_from(("", ".", ", 10:30", " 2", "!", " el 5 de mayo")))
                words.append(draw(st.sampled_from(FRAMES)).format(prose))
        prefix = draw(st.sampled_from(("", "", "- ", "> ", "1. ", "## ", "| ")))
        lines.append(prefix + " ".join(words))
    return "\n".join(lines), kept


@settings(max_examples=300)
@given(messages(), st.sampled_from(sorted(engines.HOSTILE)), st.sampled_from(["words", "brackets"]))
def test_atoms_in_chat_come_back_byte_for_byte(
    message: tuple[str, list[str]], engine: str, style: str
) -> None:
    text, kept = message
    result = through(text, engines.HOSTILE[engine], style)
    for atom in kept:
        assert result.text.count(atom) == text.count(atom), (atom, result.text)
    assert Rendered(result.text) == Rendered(text)
    assert result.text.count("\n") == text.count("\n")


@settings(max_examples=300)
@given(st.text(max_size=80), st.sampled_from(sorted(engines.HOSTILE)))
def test_any_text_keeps_its_structure(text: str, engine: str) -> None:
    assert parse(text, "en").source == text
    assert Rendered(through(text, engines.HOSTILE[engine]).text) == Rendered(text)


@pytest.mark.parametrize("atom", ATOMS)
def test_an_atom_is_neither_sent_nor_changed(atom: str) -> None:
    words = [word for word in re.findall(r"[^\W\d_]{3,}", atom) if word != "Xqaa"]
    for prose in PROSE.values():
        text = f"{prose} {atom} {prose}"
        for sent in RoundTrip(parse(text, "es"), WORDS).texts:
            assert not any(word in sent.replace(prose, "") for word in words)
        assert atom in through(text, engines.shout).text


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("**muy** importante: *hola* 2*3=6", "**muyo** importanteo: *holao* 2*3=6"),
        ("* uno\n* dos", "* unoo\n* doso"),
        (
            "la [mi casa](https://e.example 'mi perro') es",
            "lao [mio casao](https://e.example 'mi perro') eso",
        ),
        ("***muy*** grande", "***muyo*** grandeo"),
        ("**una *muy* grande** casa", "**unao *muyo* grandeo** casao"),
        ("el 5 de mayo de 2026", "elo 5 deo mayoo deo 2026"),
        ("la [casa] y ||mi perro|| y", "lao [casao] y ||mio perroo|| y"),
        ("di <@U12> <#C1|casa> y US$5-US$6 ya", "dio <@U12> <#C1|casa> y USo$5-US$6 yao"),
        ("uno\ndos  \ntres\n\ncuatro", "unoo\ndoso  \ntreso\n\ncuatroo"),
        (
            "| casa | perro |\n|---|---|\n| uno | dos |",
            "| casao | perroo |\n|---|---|\n| unoo | doso |",
        ),
        ("- [ ] hacer\n- [x] hecho", "- [ ] hacero\n- [x] hechoo"),
        ("```\nmi casa", "```\nmi casa"),
        ("~~~\nmi casa\n~~~\ncasa", "~~~\nmi casa\n~~~\ncasao"),
        ("casa\n\n    mi casa", "casao\n\n    mi casa"),
        ("mira (https://example.org/casa)", "mirao (https://example.org/casa)"),
        ("看 https://example.org/casa。la casa", "看 https://example.org/casa。lao casao"),
        ("casa\u00a0grande\u200b ca\u00adsa", "casao grandeo casao"),
        ("e\u0301l come", "\u00e9lo comeo"),
        (
            "[casa] y [casa][c]\n\n[casa]: /x\n[c]: /y",
            "[casa] yo [casao][c]\n\n[casa]: /x\n[c]: /y",
        ),
    ],
)  # fmt: skip
def test_translated_around_the_markup(text: str, translated: str) -> None:
    good = through(text, lambda sent: re.sub(r"(?<!\w)(?!Xq)[^\W\d_]{2,}", r"\g<0>o", sent))
    assert good.text == translated.replace(" yo ", " y ")


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("看 https://example.org/casa好吗", "看 Xqaa 好吗"),
        ("看 https://example.org/wiki/日本 好", "看 Xqaa 好"),
        ("mira https://e.example/a_(b) y (https://e.example/c) ya", "mira Xqaa y (Xqab) ya"),
        ("di ‘https://example.org/casa’ ya", "di ‘Xqaa’ ya"),  # noqa: RUF001
        ("di «https://example.org/casa», ya", "di «Xqaa», ya"),
        ("di https://example.org/casa; ya", "di Xqaa; ya"),
        ("di https://example.org/casa... ya", "di Xqaa... ya"),
        ("di **https://example.org/casa** ya", "di Xqaa ya"),
        ("di https://example.org/?q=a&b=casa#mi-casa ya", "di Xqaa ya"),
        ("di example.org:8080/casa ya", "di Xqaa ya"),
        ("di localhost:8080/casa ya", "di Xqaa ya"),
        ("di 192.168.0.1/casa ya", "di Xqaa ya"),
        ("di http://[::1]:8080/casa ya", "di Xqaa ya"),
        ("di mailto:ana@example.org?subject=casa ya", "di Xqaa ya"),
        ("https://example.org/casa를 보세요 지금", "를 보세요 지금"),
        ("कहाँ/किधर हूं/हूँ अभी", "कहाँ/किधर हूं/हूँ अभी"),
        ("él y/o ella a las 10:30", "él y/o ella a las 10:30"),
        ("EE.UU. y R&B, 50% del 1er día", "EE.UU. y R&B, 50% del 1er día"),
    ],
)
def test_where_an_address_ends(text: str, sent: str) -> None:
    assert RoundTrip(parse(text, "es"), WORDS).texts[0] == sent


def test_an_element_is_found_in_the_whole_sentence() -> None:
    """Its words may have another place there."""
    words = {
        "la casa roja es grande": "the red house is big", "roja": "red", "la casa": "the house",
        "es grande": "is big",
    }  # fmt: skip
    assert (
        through("la casa **roja** es grande", words.__getitem__).text == "the **red** house is big"
    )


def test_an_element_that_is_not_found_is_translated_where_it_stands() -> None:
    words = {
        "muy importante": "quite vital", "muy": "Very", "importante": "Important",
    }  # fmt: skip
    assert through("muy *importante*", words.__getitem__).text == "Very *important*"
    assert through("*muy* importante", words.__getitem__).text == "*Very* important"


def test_one_damaged_sentence_does_not_keep_the_others_from_being_translated() -> None:
    text = "La casa es grande. Dile a @ana que venga hoy. Adiós amigos."
    damaged = through(text, lambda sent: engines.shout(sent.replace("Xqaa", "")))
    assert damaged.text == "Lao casao eso grandeo. Dile a @ana que venga hoy. Adióso amigoso."
    assert damaged.kept == Counter(placeholder_lost=1)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("tell to come at 10:30", "placeholder_lost"),
        ("tell Xqaa Xqaa at 10:30", "placeholder_lost"),
        ("tell Xqaa and Xqab at 10:30", "placeholder_lost"),
        ("tell Xqaa and xq at 10:30", "placeholder_lost"),
        ("tell Xqaas at 10:30", "placeholder_lost"),
        ("tell Xqaa at 10:31", "number_changed"),
        ("tell Xqaa at 10.30", "number_changed"),
        ("tell Xqaa", "number_changed"),
        ("*tell* Xqaa at 10:30", "markup_changed"),
        ("tell Xqaa\nat 10:30", "markup_changed"),
        ("tell Xqaa at 10:30 &amp;", "markup_changed"),
        ("tell Xqaa at 10:30 \u202e", "markup_changed"),
        ("", "placeholder_lost"),
        ("tell Xqaa at 10:30" + " and so on" * 40, "translation_too_long"),
    ],
)
def test_a_damaged_answer_is_not_shown(answer: str, reason: str) -> None:
    text = "dile a @ana que venga a las 10:30"
    result = through(text, lambda _: answer)
    assert (result.text, result.translated, result.kept) == (text, 0, Counter({reason: 1}))


def test_the_engine_may_move_and_space_tokens() -> None:
    trip = RoundTrip(parse("dile a @ana y a @luz eso", "es"), BRACKETS)
    assert trip.texts == ("dile a ⟦0⟧ y a ⟦1⟧ eso",)
    result = trip.finish({trip.texts[0]: "that ⟦ 1 ⟧ tell ⟦0⟧"})
    assert result.text == "that @luz tell @ana"


def test_a_text_that_contains_something_like_a_token_keeps_it() -> None:
    assert RoundTrip(parse("la Xqab de @ana es", "es"), WORDS).texts == ("la Xqaa de Xqab es",)
    assert through("la Xqab de @ana es", engines.shout).text == "lao Xqab deo @ana eso"
    assert RoundTrip(parse("la fluxq de @ana es", "es"), WORDS).texts == ()
    assert RoundTrip(parse("la fluxq es", "es"), WORDS).texts == ("la fluxq es",)


@pytest.mark.parametrize(
    "text",
    [
        "👍👍",
        "42",
        "https://a.example",
        " \n",
        "10:30 @ana ?!",
        "`x`",
        "\u3164",
        "\u2800\u115f",
        "",
    ],
)
def test_nothing_to_translate(text: str) -> None:
    assert parse(text, "es").sentences == []
