"""Fields of requests and their constraints."""

import secrets
from typing import Annotated, Final

import email_validator
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from ashchat_auth.models import Device
from ashchat_auth.service.password_rules import MAX_CHARS, MIN_CHARS
from ashchat_core import languages
from ashchat_core.tokens import device_hash

EMAIL_MAX_CHARS: Final = 254
"""Maximum length: RFC 5321, section 4.5.3.1.3, and erratum 1690 of RFC 3696."""

DEVICE_TOKEN_BYTES: Final = 32
"""Random bytes of an issued device token."""

# An organisation's own mail domain may be under .local or .internal.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def _address(text: str) -> str:
    """Return a syntactically valid address (RFC 5321), its domain as in the DNS.

    Not every mail server accepts a local part with non-ASCII characters (RFC 6531), so such an
    address could not be confirmed.
    """
    try:
        valid = email_validator.validate_email(
            text.strip(), check_deliverability=False, allow_smtputf8=False
        )
    except email_validator.EmailNotValidError as error:
        raise ValueError("not an e-mail address") from error
    return valid.ascii_email or valid.normalized


Address = Annotated[
    str,
    StringConstraints(max_length=EMAIL_MAX_CHARS),
    AfterValidator(_address),
    Field(examples=["ana@example.org"], json_schema_extra={"format": "email"}),
]


def _language(tag: str) -> str:
    """Return a tag in canonical spelling; an invalid one is a ValueError."""
    known = languages.canonical(tag)
    if known == languages.UNKNOWN:
        raise ValueError("not a valid BCP 47 language tag")
    return known


# No control characters: the values are written to mails and logs.
Line = StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=64),
    Line,
    Field(examples=["Ana"]),
]
Code = Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$"), Field(examples=["123456"])]
RecoveryCode = Annotated[
    str, StringConstraints(min_length=1, max_length=64), Field(examples=["k3fw-09ra-tm2x-c81z"])
]
LanguageTag = Annotated[
    str,
    StringConstraints(max_length=languages.TAG_MAX_CHARS),
    AfterValidator(_language),
    Field(examples=["es"], description="A BCP 47 language tag."),
]
NewPassword = Annotated[
    str, Field(min_length=MIN_CHARS, max_length=MAX_CHARS, examples=["three random words"])
]
GivenPassword = Annotated[str, Field(min_length=1, max_length=MAX_CHARS)]
DeviceToken = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]


class Body(BaseModel):
    """A request's body; unknown fields are ignored, as the original's clients may send some."""

    model_config = ConfigDict(extra="ignore")


class DeviceFields(Body):
    """Fields that identify a device, the same in every request."""

    deviceTokenId: DeviceToken  # noqa: N815 (the original's name)
    deviceNotificationToken: Annotated[str, StringConstraints(max_length=512), Line] | None = None  # noqa: N815
    deviceOS: Annotated[str, StringConstraints(max_length=64), Line] | None = None  # noqa: N815

    issueDeviceToken: Annotated[  # noqa: N815
        bool,
        Field(
            description="Whether the server issues a random token, which the device uses from now "
            "on instead of the one that it has chosen."
        ),
    ] = False

    def device(self) -> tuple[Device, str | None]:
        """Return the device, its token hashed, and the token if it was issued now."""
        issued = secrets.token_urlsafe(DEVICE_TOKEN_BYTES) if self.issueDeviceToken else None
        device = Device(
            device_hash=device_hash(issued or self.deviceTokenId),
            os=self.deviceOS,
            notification_token=self.deviceNotificationToken,
        )
        return device, issued


class SecondFactorFields(Body):
    """A second factor, if the account has one: one of these."""

    totpCode: Code | None = None  # noqa: N815
    recoveryCode: RecoveryCode | None = None  # noqa: N815
