import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashchat_translate.placeholders import LostPlaceholderError, protect


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("mira `rm -rf x` ya", ("`rm -rf x`",)),
        ("antes\n```py\nx = 1\n\ny```\ntras", ("```py\nx = 1\n\ny```",)),
        ("ve a https://a.example/b?c=d#e.", ("https://a.example/b?c=d#e",)),
        ("(https://a.example/b)", ("https://a.example/b",)),
        ("escribe a ana.luz+x@correo.example hoy", ("ana.luz+x@correo.example",)),
        ("hola @ana.luz, ven a #general-2", ("@ana.luz", "#general-2")),
        ("bien :thumbs_up: sí", (":thumbs_up:",)),
        ("son las 10:30 del 2026-11-24", ("10:30", "2026-11-24")),
        ("vale 1.234,50 € o -3%", ("1.234,50", "-3%")),
        ("usa v1.2.3 y 3kg, B2B", ("v1.2.3", "3kg", "B2B")),
        ("私は3匹の犬", ("3",)),
        ("hola 👋🏽 familia 👨‍👩‍👧 ❤️ 🇪🇸", ("👋🏽", "👨‍👩‍👧", "❤️", "🇪🇸")),
        ("tecla 1️⃣ aquí", ("1️⃣",)),
        ("mis ⟦ corchetes ⟧", ("⟦", "⟧")),
        ("sin nada: que, guardar", ()),
    ],
)
def test_what_is_kept(text: str, kept: tuple[str, ...]) -> None:
    protected = protect(text)
    assert protected.kept == kept
    assert protected.restore(protected.text) == text


@pytest.mark.parametrize("text", ["👍👍", "42", "https://a.example", " \n", "10:30 @ana ?!", "`x`"])
def test_nothing_to_translate(text: str) -> None:
    assert not protect(text).translatable


def test_the_engine_may_move_and_space_tokens() -> None:
    protected = protect("dile a @ana que venga a las 10:30")
    assert protected.restore("at ⟦ 1 ⟧ tell ⟦0⟧ to come") == "at 10:30 tell @ana to come"


@pytest.mark.parametrize(
    "answer",
    [
        "tell to come at ⟦1⟧",  # lost
        "tell ⟦0⟧ ⟦0⟧ at ⟦1⟧",  # doubled
        "tell ⟦0⟧ at ⟦1⟧ ⟦2⟧",  # made up
        "tell ⟦0⟧ at ⟦1⟧ ⟦",  # a piece is left over
        "tell ⟦0⟧ at [1]",  # damaged
    ],
)
def test_a_damaged_token_is_never_shown(answer: str) -> None:
    with pytest.raises(LostPlaceholderError):
        protect("dile a @ana que venga a las 10:30").restore(answer)


_PIECES = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            ["`a b`", "https://x.example/1", "@ana", "👍🏽", "3,50", "⟦1⟧", "⟦", "```\nx\n```", " "]
        ),
    ),
    max_size=12,
).map("".join)


@given(_PIECES)
def test_every_text_comes_back_whole(text: str) -> None:
    protected = protect(text)
    assert protected.restore(protected.text) == text


@given(_PIECES)
def test_dropping_any_token_is_noticed(text: str) -> None:
    protected = protect(text)
    for number in range(len(protected.kept)):
        with pytest.raises(LostPlaceholderError):
            protected.restore(protected.text.replace(f"⟦{number}⟧", "", 1))
