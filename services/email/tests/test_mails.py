from datetime import UTC, datetime

import pytest

from ashchat_email.mails import Kind, Mail, compose, languages, words

AT = datetime(2026, 1, 2, tzinfo=UTC)


def mail(kind: Kind = "sign_up", language: str = "es", name: str = "Ana") -> Mail:
    return Mail(kind, "ana@example.org", name, language, "123456", "id", AT)


def text(message: Mail) -> tuple[str, str]:
    made = compose(message, sender="AshChat <no-reply@example.org>", product="AshChat", minutes=10)
    plain, html = made.iter_parts()
    return plain.get_content(), html.get_content()


@pytest.mark.parametrize("kind", ["sign_up", "address_taken", "new_device"])
@pytest.mark.parametrize("language", sorted(languages()))
def test_every_mail_exists_in_every_language(kind: Kind, language: str) -> None:
    assert words(language).keys() == words("en").keys()
    assert words(language)[kind].keys() == words("en")[kind].keys()
    plain, html = text(mail(kind, language))
    assert "123456" in plain
    assert f'lang="{language}"' in html


def test_a_name_cannot_put_markup_into_a_mail() -> None:
    plain, html = text(mail(name="<b>x</b>"))
    assert "<b>" in plain
    assert "<b>x" not in html
    assert "&lt;b&gt;x" in html


def test_a_name_cannot_put_a_header_into_a_mail() -> None:
    made = compose(
        mail(name="x\r\nBcc: all@example.org"),
        sender="AshChat <a@b.org>",
        product="AshChat",
        minutes=10,
    )
    assert made["Bcc"] is None


def test_an_unknown_language_gets_english() -> None:
    assert words("tlh") == words("en")
    assert words("pt-BR") == words("pt")


def test_the_same_mail_twice_has_the_same_message_id() -> None:
    made = [compose(mail(), sender="A <a@b.org>", product="AshChat", minutes=10) for _ in range(2)]
    assert made[0]["Message-ID"] == made[1]["Message-ID"] == "<id@b.org>"
