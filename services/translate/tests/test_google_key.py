"""When a new key for Google takes the old one's place."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ashchat_core.credentials import Credentials
from ashchat_translate.providers import google as module
from ashchat_translate.providers.google import KEY_FILE, Google


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return {
        "type": "service_account", "project_id": "p", "private_key_id": "1",
        "private_key": pem.decode(), "client_email": "a@p.invalid", "client_id": "1",
        "token_uri": "https://token.invalid",
    }  # fmt: skip


def give(folder: Path, text: str, revision: str) -> None:
    (folder / KEY_FILE).write_text(text)
    (folder / "google.revision").write_text(revision)


@pytest.fixture
async def google(tmp_path: Path, key: dict[str, str]) -> AsyncIterator[Google]:
    give(tmp_path, json.dumps(key), "1")
    made = Google(
        Credentials(tmp_path), project="p", location="global", endpoint="127.0.0.1:9", timeout=1
    )
    made._open()
    yield made
    await made.close()


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", "null", '"x"', '{"private_key": 1, "client_email": 1, "token_uri": 1}'],
)
async def test_an_invalid_key_leaves_the_working_one(
    google: Google, tmp_path: Path, text: str
) -> None:
    before = google._client
    assert before is not None
    give(tmp_path, text, "2")
    await google.reload()
    assert google._client is before
    assert google._credentials.in_use == {"google": "1"}


async def test_a_key_whose_pem_is_cut_off_leaves_the_one_that_works(
    google: Google, tmp_path: Path, key: dict[str, str]
) -> None:
    before = google._client
    give(tmp_path, json.dumps(key | {"private_key": key["private_key"][:200]}), "2")
    await google.reload()
    assert google._client is before
    assert google._credentials.in_use == {"google": "1"}


async def test_a_new_key_is_used_and_calls_under_way_go_on(
    google: Google, tmp_path: Path, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[tuple[object, float]] = []

    async def close(client: object, grace: float) -> None:
        closed.append((client, grace))

    monkeypatch.setattr(module, "_close", close)
    before = google._client
    give(tmp_path, json.dumps(key | {"private_key_id": "2"}), "2")
    await google.reload()
    assert google._client not in {None, before}
    assert google._credentials.in_use == {"google": "2"}
    await asyncio.gather(*google._closing)
    assert closed == [(before, module.CLOSE_GRACE_SECONDS)]
