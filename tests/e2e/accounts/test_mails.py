"""Every mail that an account receives, read from the mailbox, in each language."""

import re

import pytest

from ashchat_dev.client import Person, fresh_address
from ashchat_dev.mailbox import Mail, Mailbox
from ashchat_e2e.people import PersonFactory
from ashchat_email.mails import Kind, languages, words

pytestmark = pytest.mark.smoke

PRODUCT = "AshChat"
_TAGS = re.compile(r"<[^>]+>")
_ISOLATES = {0x2068: None, 0x2069: None}


class Post:
    """The expected properties of the mails in one language."""

    def __init__(self, mailbox: Mailbox, language: str) -> None:
        self._mailbox = mailbox
        self._words = words(language)
        self._seen: set[str] = set()

    async def gets(self, address: str, kind: Kind, *, code: bool) -> str:
        """Await a mail of a kind, check both parts, and return its code (empty if it has none)."""
        subject = self._words[kind]["subject"].format(product=PRODUCT)

        def wanted(mail: Mail) -> bool:
            return mail.subject == subject

        mail = await self._mailbox.wait(address, wanted, after=self._seen)
        self._seen.add(mail.id)
        common = self._words["common"]
        assert f'lang="{common["language"]}" dir="{common["direction"]}"' in mail.html
        advice = self._words[kind]["advice"].format(product=PRODUCT)
        for part in (mail.text.translate(_ISOLATES), _TAGS.sub("", mail.html)):
            assert advice in part, f"{kind}: {part}"
            assert (mail.code is not None) == code, f"{kind}: {part}"
            assert (mail.code or "") in part
        return mail.code or ""


async def signed_in(who: Person) -> None:
    """Sign in again: the change ended the session."""
    reply = await who.signin()
    assert reply.status == 200, reply


@pytest.mark.parametrize("language", sorted(languages()))
async def test_every_mail_is_in_the_language_of_its_recipient(
    language: str, person: PersonFactory, mailbox: Mailbox
) -> None:
    post = Post(mailbox, language)
    ana = person.names_only("Ana", language)
    assert (await ana.signup()).status == 202
    code = await post.gets(ana.email, "sign_up", code=True)
    assert (await ana.confirm_email(code)).status == 201
    await signed_in(ana)

    stranger = person.names_only("Mallory", "en" if language != "en" else "es", email=ana.email)
    assert (await stranger.signup()).status == 202
    await post.gets(ana.email, "address_taken", code=False)

    phone = person.names_only("Ana", language, email=ana.email, password=ana.password)
    assert (await phone.signin()).status == 403
    await post.gets(ana.email, "new_device", code=True)

    asked = await ana.auth.request("POST", "/password", json={"email": ana.email})
    assert asked.status == 202, asked
    code = await post.gets(ana.email, "reset", code=True)
    ana.password = f"{ana.password} and more"
    reset = await ana.auth.request(
        "PATCH",
        "/password",
        json={"newPassword": ana.password, "emailCode": code},
        headers={"Authorization": f"Bearer {asked.data['token']}"},
    )
    assert reset.status == 200, reset
    await post.gets(ana.email, "password_reset", code=False)
    await signed_in(ana)

    old, new = ana.email, fresh_address("ana")
    owner = await person("Eva", language)
    for address in (owner.email, new):
        begun = await ana.auth.request(
            "POST",
            "/email",
            json={"newEmail": address, "password": ana.password},
            headers=ana.headers,
        )
        assert begun.status == 202, begun
        old_code = await post.gets(old, "change_old", code=True)
    await post.gets(owner.email, "change_taken", code=False)
    new_code = await post.gets(new, "change_new", code=True)
    changed = await ana.auth.request(
        "PATCH", "/email", json={"oldCode": old_code, "newCode": new_code}, headers=ana.headers
    )
    assert changed.status == 200, changed
    await post.gets(old, "email_changed", code=False)
    ana.email = new
    await signed_in(ana)


async def test_a_change_to_a_taken_address_gets_the_same_response_and_is_never_confirmed(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana, eva = await person("Ana", "en"), await person("Eva", "en")
    post = Post(mailbox, "en")
    answers = []
    for address in (fresh_address("free"), eva.email):
        answers.append(
            await ana.auth.request(
                "POST",
                "/email",
                json={"newEmail": address, "password": ana.password},
                headers=ana.headers,
            )
        )
        code = await post.gets(ana.email, "change_old", code=True)
    assert (answers[0].status, answers[0].body) == (answers[1].status, answers[1].body)
    await post.gets(eva.email, "change_taken", code=False)
    for guess in ("000000", code):
        refused = await ana.auth.request(
            "PATCH", "/email", json={"oldCode": code, "newCode": guess}, headers=ana.headers
        )
        assert (refused.status, refused.reason) == (400, "wrong_code"), refused
