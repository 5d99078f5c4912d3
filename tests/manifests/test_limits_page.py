"""The page on limits has the limits of the code, with their defaults."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from ashchat_auth.limits import AuthLimits
from ashchat_auth.settings import Settings as AuthSettings
from ashchat_chat.settings import Settings as ChatSettings
from ashchat_chat.users import text_allowances
from ashchat_chat.wire import limits
from ashchat_core.admission import requests
from ashchat_core.admission.gate import Admission
from ashchat_core.settings import ENV_PREFIX
from ashchat_email.settings import Settings as EmailSettings
from ashchat_static.settings import Settings as StaticSettings
from ashchat_translate.settings import Settings as TranslateSettings

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "limits.md").read_text()
ROWS = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
SETTINGS: tuple[BaseSettings, ...] = (
    AuthSettings(_env_file=None),
    EmailSettings(_env_file=None),
    TranslateSettings(_env_file=None, google_project="p"),
)
UNNAMED = {"second-factor.unnoticed", "second-factor.notice"}
"""They decide when the owner gets a mail, and refuse nothing."""

OTHERS = {
    "mail.recipient",
    "mail.sender",
    text_allowances.LIMIT,
    *(rate.limit for rate in (limits.CHATS, limits.TAGS, limits.GROUPS, limits.LISTS)),
    "translate.account",
    "translate.provider",
}


def test_every_limit_is_on_the_page() -> None:
    auth = AuthLimits(Admission(), AuthSettings(_env_file=None))
    named = {name for row in ROWS for name in re.findall(r"`([a-z-]+\.[a-z-]+)`", row[0])}
    assert named == ({*auth._rates} - UNNAMED) | OTHERS | {requests.LIMIT}


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: type(one).__module__)
def test_the_defaults_are_those_of_the_settings(settings: BaseSettings) -> None:
    found = set()
    for row in ROWS:
        for name in re.findall(rf"`{ENV_PREFIX}([A-Z_]+)`", row[-1]):
            default = getattr(settings, name.lower(), None)
            if default is None:
                continue
            assert re.search(rf"(?<![\d,]){default:,}(?![\d,])", " ".join(row[1:-1])), (name, row)
            found.add(name)
    assert found


def test_every_setting_on_the_page_exists() -> None:
    every = (*SETTINGS, ChatSettings(_env_file=None), StaticSettings(_env_file=None))
    assert f"{ChatSettings(_env_file=None).stored_characters_per_account_per_day:,} a day" in PAGE
    for name in re.findall(rf"`{ENV_PREFIX}([A-Z_]+)`", PAGE):
        assert any(hasattr(settings, name.lower()) for settings in every), name
