"""The service google.cloud.translation.v3.TranslationService, as far as AshChat calls it.

The messages are those of the google-cloud-translate package; it ships no servicer, so the
method is registered by its name
(https://github.com/googleapis/googleapis/blob/master/google/cloud/translate/v3/translation_service.proto).
"""

import asyncio
import contextlib
import itertools
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2
import jwt
from google.cloud.translate_v3 import (
    TranslateTextRequest,
    TranslateTextResponse,
    Translation,
)
from prometheus_client import Counter, start_http_server

AUDIENCE = "https://translate.googleapis.com/"
SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/cloud-platform",
        "https://www.googleapis.com/auth/cloud-translation",
    }
)
MAX_CODE_POINTS = 30_720
"""Google's limit of one request (https://docs.cloud.google.com/translate/quotas)."""

APERTIUM = {"en": "eng", "es": "spa", "fr": "fra", "it": "ita", "pt": "por"}
PIVOT = "spa"
STOP_SECONDS = 0.5

_PARENT = re.compile(r"projects/[a-z][a-z0-9-]{4,28}[a-z0-9]/locations/[a-z0-9-]+")
_CALLS = Counter("google_calls_total", "Calls of TranslateText, by status", ["code"])


class RefusalError(Exception):
    """An answer that is not a translation."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True)
class Accounts:
    """The service accounts that are known: e-mail address → public key (PEM)."""

    keys: dict[str, str]

    def check(self, authorization: str) -> None:
        """Check a self-signed JWT (https://google.aip.dev/auth/4111).

        Raises:
            RefusalError: it is not one of ours, or not for this API.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            raise RefusalError(grpc.StatusCode.UNAUTHENTICATED, "a bearer token is needed")
        try:
            email = jwt.decode(token, options={"verify_signature": False})["iss"]
            claims: dict[str, Any] = jwt.decode(
                token,
                self.keys[email],
                algorithms=["RS256"],
                options={"require": ["iss", "sub", "iat", "exp"], "verify_aud": False},
            )
        except (jwt.InvalidTokenError, KeyError) as error:
            kind = type(error).__name__
            raise RefusalError(
                grpc.StatusCode.UNAUTHENTICATED, f"the token is not valid: {kind}"
            ) from None
        scopes = frozenset(str(claims.get("scope", "")).split())
        if claims["sub"] != email or not (claims.get("aud") == AUDIENCE or scopes & SCOPES):
            raise RefusalError(grpc.StatusCode.PERMISSION_DENIED, "the token is for something else")


class Translator:
    """TranslateText."""

    def __init__(self, accounts: Accounts, apertium: httpx2.AsyncClient) -> None:
        self._accounts = accounts
        self._apertium = apertium

    async def translate_text(
        self,
        request: TranslateTextRequest,
        context: grpc.aio.ServicerContext[TranslateTextRequest, TranslateTextResponse],
    ) -> TranslateTextResponse:
        """Check the request as Google does, and translate."""
        try:
            metadata = dict(context.invocation_metadata() or ())
            self._accounts.check(str(metadata.get("authorization", "")))
            source, target = check(request, str(metadata.get("x-goog-request-params", "")))
            texts = [await self._translate(text, source, target) for text in request.contents]
        except RefusalError as refusal:
            _CALLS.labels(refusal.code.name).inc()
            await context.abort(refusal.code, str(refusal))
        except httpx2.HTTPError:
            _CALLS.labels("UNAVAILABLE").inc()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "try again later")
        _CALLS.labels("OK").inc()
        return TranslateTextResponse(
            translations=[Translation(translated_text=text) for text in texts]
        )

    async def _translate(self, text: str, source: str, target: str) -> str:
        steps = [source, target] if PIVOT in {source, target} else [source, PIVOT, target]
        for step in itertools.pairwise(steps):
            form = {"langpair": "|".join(step), "q": text, "markUnknown": "no"}
            answer = await self._apertium.post("/translate", data=form)
            answer.raise_for_status()
            text = answer.json()["responseData"]["translatedText"]
        return text


def check(request: TranslateTextRequest, routing: str) -> tuple[str, str]:
    """Return Apertium's codes of a good request.

    Raises:
        RefusalError: with the status that Google gives.
    """
    if not _PARENT.fullmatch(request.parent):
        raise _invalid("Invalid resource name. Missing project or location.")
    if f"parent={request.parent.replace('/', '%2F')}" not in routing.replace("/", "%2F"):
        raise _invalid("The routing header does not name the parent.")
    if request.mime_type != "text/plain":
        raise _invalid("The mime type must be text/plain here: chat is not HTML.")
    if not request.contents or sum(map(len, request.contents)) > MAX_CODE_POINTS:
        raise _invalid("Text is too long, or there is none.")
    try:
        return APERTIUM[request.source_language_code], APERTIUM[request.target_language_code]
    except KeyError as error:
        raise _invalid(f"The language {error} is invalid.") from None


def _invalid(words: str) -> RefusalError:
    return RefusalError(grpc.StatusCode.INVALID_ARGUMENT, words)


@contextlib.asynccontextmanager
async def serving(folder: Path, apertium_url: str, address: str) -> AsyncIterator[int]:
    """Serve with the files of `keys` inside `async with`; gives the port."""
    accounts = Accounts(json.loads((folder / "accounts.json").read_text()))
    async with httpx2.AsyncClient(base_url=apertium_url, timeout=10, trust_env=False) as apertium:
        server = grpc.aio.server()
        method = grpc.unary_unary_rpc_method_handler(  # type: ignore[no-untyped-call]
            Translator(accounts, apertium).translate_text,
            request_deserializer=TranslateTextRequest.deserialize,
            response_serializer=TranslateTextResponse.serialize,
        )
        handlers = grpc.method_handlers_generic_handler(  # type: ignore[no-untyped-call]
            "google.cloud.translation.v3.TranslationService", {"TranslateText": method}
        )
        server.add_generic_rpc_handlers((handlers,))
        pair = ((folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes())
        credentials = grpc.ssl_server_credentials([pair])  # type: ignore[no-untyped-call]
        port = server.add_secure_port(address, credentials)
        await server.start()
        try:
            yield port
        finally:
            await server.stop(grace=STOP_SECONDS)


async def main(folder: str, apertium_url: str) -> None:
    """Serve on 8443, metrics on 9000, until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(Path(folder), apertium_url, "0.0.0.0:8443"):
        start_http_server(9000)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
