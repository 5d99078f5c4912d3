"""What a password may be: 8 to 128 characters, any, but none that is guessed first.

OWASP ASVS 5.0, 6.2.4 (the most common ones are refused), 6.2.5 (no composition rules),
6.2.8 (nothing is cut off or changed), 6.2.11 (nor words of its owner's).
"""

import unicodedata

from ashchat_auth.service.ports import CommonPasswords
from ashchat_core.errors import APIError

MIN_CHARS, MAX_CHARS = 8, 128

OWN_WORD_CHARS = 3
"""A shorter word of a person's name is not looked for."""

OWN_REST_CHARS = 4
"""What a password must have beside its owner's name and address, in characters."""

PRODUCT = "ashchat"


def fold(text: str) -> str:
    """Return a text as it is compared: one form of each character (NFKC), no capitals."""
    return unicodedata.normalize("NFKC", text).casefold()


class PasswordRules:
    """Refuses what would be tried first."""

    def __init__(self, common: CommonPasswords) -> None:
        self._common = common

    def check(self, password: str, email: str, name: str, *, field: str = "password") -> None:
        """Pass a password that is neither common nor made of its owner's name and address.

        Raises:
            APIError: 422 password_too_common, password_too_personal.
        """
        self.check_common(password, field=field)
        if _made_of(fold(password), _words(email, name)):
            raise APIError(
                422,
                "password_too_personal",
                "this password is your name or address: choose one that others cannot guess",
                data={"fields": [{"field": field, "rule": "too_personal"}]},
            )

    def check_common(self, password: str, *, field: str = "password") -> None:
        """Pass a password that is not on the list.

        Raises:
            APIError: 422 password_too_common.
        """
        if fold(password) in self._common or len(set(fold(password))) == 1:
            raise APIError(
                422,
                "password_too_common",
                "this password is known from breaches: choose another, such as three random words",
                data={"fields": [{"field": field, "rule": "too_common"}]},
            )


def _words(email: str, name: str) -> list[str]:
    """Return what a person would use of their own, longest first."""
    local, _, domain = fold(email).partition("@")
    words = {fold(email), local, domain, fold(name), *fold(name).split(), PRODUCT}
    words |= set(local.replace("-", ".").replace("_", ".").split("."))
    return sorted((word for word in words if len(word) >= OWN_WORD_CHARS), key=len, reverse=True)


def _made_of(password: str, words: list[str]) -> bool:
    rest = password
    for word in words:
        rest = rest.replace(word, "")
    return rest != password and len(rest) < OWN_REST_CHARS
