"""Google Cloud Translation, v3 ("Advanced"), with its asynchronous client.

Authorised by a JWT that is signed with the service account's key, so no token endpoint is called
(https://google.aip.dev/auth/4111). gRPC sends such credentials over TLS only.
"""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc
import structlog
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud.translate_v3 import TranslateTextRequest, TranslationServiceAsyncClient
from google.cloud.translate_v3.services.translation_service.transports import (
    TranslationServiceGrpcAsyncIOTransport,
)
from google.oauth2 import service_account

from ashchat_core import languages
from ashchat_core.credentials import Credentials, MissingCredentialError
from ashchat_translate.providers import (
    Answer,
    DownReason,
    ProviderDownError,
    ProviderRefusedError,
    codes,
)
from ashchat_translate.tokens import BRACKETS

KEY_FILE: Final = "google.json"
CONTENTS_MAX: Final = 1_024
"""Maximum texts in one call (https://docs.cloud.google.com/translate/docs/reference/rest)."""

CLOSE_GRACE_SECONDS: Final = 10.0
"""How long calls on a replaced connection may take."""

_DOWN: Final[tuple[tuple[type[exceptions.GoogleAPICallError], DownReason], ...]] = (
    (exceptions.DeadlineExceeded, "timeout"),
    (exceptions.ServiceUnavailable, "unreachable"),
    (exceptions.TooManyRequests, "quota"),
    (exceptions.Forbidden, "denied"),
    (exceptions.Unauthorized, "denied"),
    (exceptions.NotFound, "not_configured"),
)


class Google:
    """The provider `google`."""

    name = "google"
    tokens = BRACKETS

    def __init__(
        self,
        credentials: Credentials,
        *,
        project: str,
        location: str,
        endpoint: str = "",
        ca_file: Path | None = None,
        timeout: float,
    ) -> None:
        self._credentials = credentials
        self._parent = f"projects/{project}/locations/{location}"
        self._endpoint = endpoint
        self._ca_file = ca_file
        self._timeout = timeout
        self._client: TranslationServiceAsyncClient | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("google")

    async def translate(self, texts: Sequence[str], source: str | None, target: str) -> Answer:
        """Translate in as few calls as possible; Google detects an unknown source."""
        answers = [
            await self._call(texts[start : start + CONTENTS_MAX], source, target)
            for start in range(0, len(texts), CONTENTS_MAX)
        ]
        detected = next((answer.source for answer in answers if answer.source), None)
        return Answer(tuple(text for answer in answers for text in answer.texts), detected)

    async def _call(self, texts: Sequence[str], source: str | None, target: str) -> Answer:
        request = TranslateTextRequest(
            parent=self._parent,
            contents=list(texts),
            mime_type="text/plain",
            source_language_code=codes.google(source) if source else "",
            target_language_code=codes.google(target),
        )
        client = self._client or self._open()
        try:
            # No retries here: the breaker and the hold are responsible for them.
            response = await client.translate_text(
                request=request, retry=None, timeout=self._timeout
            )
        except exceptions.GoogleAPICallError as error:
            raise _verdict(error) from None
        except auth_exceptions.GoogleAuthError:
            raise ProviderDownError("denied") from None
        if len(response.translations) != len(texts):
            raise ProviderDownError("broken", pair_only=True)
        detected = languages.canonical(response.translations[0].detected_language_code)
        known = None if detected == languages.UNKNOWN else detected
        translated = tuple(translation.translated_text for translation in response.translations)
        return Answer(translated, source or known)

    async def reload(self) -> None:
        """Read the key and the CA file again; calls in progress continue."""
        old = self._client
        try:
            self._open()
        except ProviderDownError:
            self._log.warning("the new key is not usable; the old one stays in use")
            return
        if old is not None:
            task = asyncio.create_task(_close(old, CLOSE_GRACE_SECONDS))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def watch(self) -> None:
        """Reload whenever the key or the CA file changes; until cancelled."""
        watched = [self._credentials.watch(KEY_FILE, self.reload)]
        if self._ca_file is not None:
            folder = Credentials(self._ca_file.parent)
            watched.append(folder.watch(self._ca_file.name, self.reload))
        await asyncio.gather(*watched)

    async def close(self) -> None:
        """Close the connections."""
        for task in self._closing:
            task.cancel()
        client, self._client = self._client, None
        if client is not None:
            await _close(client, 0)

    def _open(self) -> TranslationServiceAsyncClient:
        try:
            key = self._credentials.read(KEY_FILE)
            account = service_account.Credentials.from_service_account_info(json.loads(key.text))  # type: ignore[no-untyped-call]
            ca = self._ca_file.read_bytes() if self._ca_file is not None else None
        except (MissingCredentialError, FileNotFoundError):
            raise ProviderDownError("not_configured") from None
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,  # JSON, but not an object
            auth_exceptions.GoogleAuthError,
        ):
            # The library's message may contain the key.
            self._log.error("the service account's key is not valid", file=KEY_FILE)
            raise ProviderDownError("not_configured") from None
        transport = TranslationServiceGrpcAsyncIOTransport(
            host=self._endpoint or TranslationServiceGrpcAsyncIOTransport.DEFAULT_HOST,
            credentials=account,
            always_use_jwt_access=True,
            ssl_channel_credentials=grpc.ssl_channel_credentials(root_certificates=ca),  # type: ignore[no-untyped-call]
        )
        self._client = TranslationServiceAsyncClient(transport=transport)
        self._credentials.use("google", key.revision)
        return self._client


async def _close(client: TranslationServiceAsyncClient, grace: float) -> None:
    with contextlib.suppress(Exception):
        transport = client.transport
        if isinstance(transport, TranslationServiceGrpcAsyncIOTransport):
            await transport.grpc_channel.close(grace)


def _verdict(error: exceptions.GoogleAPICallError) -> ProviderDownError | ProviderRefusedError:
    """Convert an error of the API.

    An exceeded quota is 429, or 403 with a message about it
    (https://docs.cloud.google.com/translate/quotas).
    """
    message = str(error.message).lower()
    if isinstance(error, exceptions.BadRequest):
        return ProviderRefusedError("pair_unsupported" if "language" in message else "refused")
    if isinstance(error, exceptions.Forbidden) and "quota" in message:
        return ProviderDownError("quota")
    for kind, reason in _DOWN:
        if isinstance(error, kind):
            return ProviderDownError(reason)
    return ProviderDownError("broken")
