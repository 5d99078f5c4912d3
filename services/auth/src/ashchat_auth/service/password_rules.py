"""Password rules: 8 to 128 characters of any kind, but not an easily guessed password.

OWASP ASVS 5.0, 6.2.4 (the most common passwords are rejected), 6.2.5 (no composition rules),
6.2.8 (passwords are not truncated or changed), 6.2.11 (no words about their owner).
"""

import unicodedata
from typing import Final

from ashchat_auth.service.ports import CommonPasswords
from ashchat_core.errors import APIError

MIN_CHARS, MAX_CHARS = 8, 128

OWN_WORD_CHARS: Final = 3
"""Shorter words of the user's name are ignored."""

OWN_REST_CHARS: Final = 4
"""Minimum characters of a password besides its owner's name and address."""

PRODUCT: Final = "ashchat"


def fold(text: str) -> str:
    """Return a text as it is compared: NFKC, case-folded."""
    return unicodedata.normalize("NFKC", text).casefold()


class PasswordRules:
    """Rejects passwords that an attacker would try first."""

    def __init__(self, common: CommonPasswords) -> None:
        self._common = common

    def check(self, password: str, email: str, name: str, *, field: str = "password") -> None:
        """Reject a password that is common or consists of its owner's name and address.

        Raises:
            APIError: 422 password_too_common, password_too_personal.
        """
        self.check_common(password, field=field)
        if _made_of(fold(password), _words(email, name)):
            raise APIError(
                422,
                "password_too_personal",
                "This password is your name or address: choose one that others cannot guess.",
                data={"fields": [{"field": field, "rule": "too_personal"}]},
            )

    def check_common(self, password: str, *, field: str = "password") -> None:
        """Reject a password that is on the list of common ones.

        Raises:
            APIError: 422 password_too_common.
        """
        if fold(password) in self._common or len(set(fold(password))) == 1:
            raise APIError(
                422,
                "password_too_common",
                "This password is known from breaches: choose another, such as three random words.",
                data={"fields": [{"field": field, "rule": "too_common"}]},
            )


def _words(email: str, name: str) -> list[str]:
    """Return words that the owner is likely to use, longest first."""
    local, _, domain = fold(email).partition("@")
    words = {fold(email), local, domain, fold(name), *fold(name).split(), PRODUCT}
    words |= set(local.replace("-", ".").replace("_", ".").split("."))
    return sorted((word for word in words if len(word) >= OWN_WORD_CHARS), key=len, reverse=True)


def _made_of(password: str, words: list[str]) -> bool:
    rest = password
    for word in words:
        rest = rest.replace(word, "")
    return rest != password and len(rest) < OWN_REST_CHARS
