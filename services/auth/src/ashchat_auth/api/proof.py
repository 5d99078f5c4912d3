"""Request bodies that repeat the password, and the errors of checking them."""

from typing import Final

from ashchat_auth.api.fields import Body, GivenPassword, SecondFactorFields
from ashchat_auth.service.second_factor import Factor

PROOF_ERRORS: Final = {
    "_400": "wrong_code, wrong_recovery_code",
    "_403": "wrong_password, two_factor_required",
    "_429": "too_many_requests",
}
"""Reasons of a rejected `WithPasswordAndFactor`, by status."""


class WithPassword(Body):
    """The account's password."""

    password: GivenPassword


class WithPasswordAndFactor(SecondFactorFields):
    """The account's password, and a second factor if the account has one."""

    password: GivenPassword

    def factor(self) -> Factor:
        """Return the second factor."""
        return Factor(self.totpCode, self.recoveryCode)
