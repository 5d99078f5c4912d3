"""Fields of requests and their constraints."""

import secrets
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from ashchat_auth.models import Device
from ashchat_auth.service.password_rules import MAX_CHARS, MIN_CHARS
from ashchat_core import languages, text
from ashchat_core.tokens import device_hash

DEVICE_TOKEN_BYTES: Final = 32
"""Random bytes of an issued device token."""

Address = Annotated[
    str,
    StringConstraints(max_length=2 * text.EMAIL_MAX_CHARS),
    AfterValidator(text.address),
    StringConstraints(max_length=text.EMAIL_MAX_CHARS),
    Field(examples=["ana@example.org"], json_schema_extra={"format": "email"}),
]


def _language(tag: str) -> str:
    """Return a tag in canonical spelling; an invalid one is a ValueError."""
    known = languages.canonical(tag)
    if known == languages.UNKNOWN:
        raise ValueError("not a valid BCP 47 language tag")
    return known


PushToken = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]
TYPED_MAX_CHARS: Final = 256
"""Maximum length of a short field as it was typed; what has no effect is removed from it."""

Typed = StringConstraints(max_length=TYPED_MAX_CHARS)
Name = Annotated[
    str,
    Typed,
    AfterValidator(text.line),
    StringConstraints(max_length=64),
    Field(examples=["Ana"]),
]
Kind = Annotated[str, Typed, AfterValidator(text.optional_line), StringConstraints(max_length=64)]
Code = Annotated[
    str,
    Typed,
    AfterValidator(text.code),
    StringConstraints(pattern=r"^[0-9]{6}$"),
    Field(examples=["123456"]),
]
RecoveryCode = Annotated[
    str,
    Typed,
    AfterValidator(text.letters_code),
    StringConstraints(min_length=1, max_length=64),
    Field(examples=["k3fw-09ra-tm2x-c81z"]),
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
    deviceNotificationToken: PushToken | None = None  # noqa: N815
    deviceOS: Kind | None = None  # noqa: N815

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
