"""Try a service account's key at Google's API, with one call of GetSupportedLanguages.

The call is free and needs the same permission as translating
(https://docs.cloud.google.com/translate/docs/access-control, roles/cloudtranslate.user).
It uses grpc directly: Google's client would double the operator's memory for one call.
"""

import json
import time
from typing import Final
from urllib.parse import quote

import grpc
import jwt

from ashchat_core.api.reasons import Reason
from ashchat_operator.credentials.candidates import Verdict

METHOD: Final = "/google.cloud.translation.v3.TranslationService/GetSupportedLanguages"
AUDIENCE: Final = "https://translate.googleapis.com/"
TOKEN_SECONDS: Final = 300
TIMEOUT_SECONDS: Final = 15.0
_PARENT_TAG: Final = b"\x1a"
"""Field 3, a string: `parent` of GetSupportedLanguagesRequest."""

_AUTH: Final = Verdict(
    Reason.LOGIN_REFUSED,
    "the key is not accepted: create a new one for the service account and store it in the Secret",
)
_VERDICTS: Final = {
    grpc.StatusCode.UNAUTHENTICATED: _AUTH,
    grpc.StatusCode.PERMISSION_DENIED: Verdict(
        Reason.PERMISSION_MISSING,
        "the account may not translate in this project: grant it roles/cloudtranslate.user, and "
        "enable the API (translate.googleapis.com)",
    ),
    grpc.StatusCode.NOT_FOUND: Verdict(
        Reason.PERMISSION_MISSING,
        "the project or location does not exist: correct spec.translate.google",
    ),
    grpc.StatusCode.INVALID_ARGUMENT: Verdict(
        Reason.PERMISSION_MISSING,
        "the project or location is refused: correct spec.translate.google",
    ),
}
_KEY_ACCEPTED: Final = frozenset(
    # The API checks the key before it returns these.
    {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED}
)


async def attempt(endpoint: str, parent: str, *, key: bytes, ca: bytes | None) -> Verdict:
    """Call the API once with a key.

    Args:
        endpoint: host:port of the API.
        parent: The location of a project, `projects/…/locations/…`.
        key: The key file of a service account (JSON).
        ca: The certificate authority of the endpoint (PEM); None: the public ones.
    """
    try:
        token = _token(key, time.time())
    except (ValueError, TypeError, KeyError, AttributeError, jwt.PyJWTError):
        # The library's message may quote the key.
        return Verdict(Reason.MALFORMED, "google.json is not the key file of a service account")
    credentials = grpc.ssl_channel_credentials(root_certificates=ca)  # type: ignore[no-untyped-call]
    async with grpc.aio.secure_channel(endpoint, credentials) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        try:
            await call(
                _request(parent),
                metadata=(
                    ("authorization", f"Bearer {token}"),
                    ("x-goog-request-params", f"parent={quote(parent, safe='')}"),
                ),
                timeout=TIMEOUT_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            return verdict(error.code(), error.details() or "")
    return Verdict(Reason.ACCEPTED, "the key is accepted")


def verdict(code: grpc.StatusCode, details: str) -> Verdict:
    """Return the verdict of an answer other than OK."""
    if code in _KEY_ACCEPTED:
        return Verdict(Reason.ACCEPTED, "the key is accepted")
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return Verdict(
            Reason.CERTIFICATE_REFUSED,
            "the endpoint's certificate is not trusted: correct spec.translate.google.caSecretRef",
        )
    away = Verdict(Reason.UNREACHABLE, "Google's API does not answer; it will be retried")
    return _VERDICTS.get(code, away)


def _token(file: bytes, now: float) -> str:
    """Return a token that the key signs itself (https://google.aip.dev/auth/4111)."""
    key = json.loads(file)
    claims = {
        "iss": key["client_email"],
        "sub": key["client_email"],
        "aud": AUDIENCE,
        "iat": int(now),
        "exp": int(now) + TOKEN_SECONDS,
    }
    headers = {"kid": str(key.get("private_key_id", ""))}
    return jwt.encode(claims, key["private_key"], algorithm="RS256", headers=headers)


def _request(parent: str) -> bytes:
    """Return the message {parent}; lengths above 127 take a second byte (protobuf's varint)."""
    text = parent.encode()
    low, high = len(text) & 0x7F, len(text) >> 7
    return _PARENT_TAG + (bytes([low | 0x80, high]) if high else bytes([low])) + text
