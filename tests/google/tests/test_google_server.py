"""The provider `google` (Google's real client) against the server, over TLS on loopback.

Apertium is real where one answers at ASHCHAT_TEST_APERTIUM_URL; elsewhere these tests are
about the requests, and stop before the engine.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ashchat_core.credentials import Credentials
from ashchat_translate.providers import ProviderDownError, ProviderRefusedError
from ashchat_translate.providers.google import Google

SOURCES = Path(__file__).parents[1] / "src"
APERTIUM = os.environ.get("ASHCHAT_TEST_APERTIUM_URL")
NOBODY = "http://127.0.0.1:9"

sys.path.insert(0, str(SOURCES))
from ashchat_test_google import server as google_server  # noqa: E402


def keys(folder: Path) -> Path:
    script = SOURCES / "ashchat_test_google/keys.py"
    subprocess.run([sys.executable, script, folder, "localhost", "127.0.0.1"], check=True)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keys(tmp_path_factory.mktemp("google"))


@pytest.fixture
async def endpoint(files: Path) -> AsyncIterator[str]:
    engine = APERTIUM or NOBODY
    async with google_server.serving(files / "server", engine, "127.0.0.1:0") as port:
        yield f"localhost:{port}"


def provider(files: Path, endpoint: str, **changes: object) -> Google:
    arguments = {
        "project": "ashchat-test", "location": "global", "endpoint": endpoint,
        "ca_file": files / "client/ca.crt", "timeout": 5.0, **changes,
    }  # fmt: skip
    return Google(Credentials(files / "client"), **arguments)  # type: ignore[arg-type]


async def test_translates_or_reports_that_the_engine_is_unavailable(
    files: Path, endpoint: str
) -> None:
    google = provider(files, endpoint)
    if APERTIUM:
        answer = await google.translate(["El perro ⟦0⟧ es negro"], "es", "en")
        assert answer.texts == ("The dog ⟦0⟧ is black",)
        assert "cane" in (await google.translate(["The dog is black"], "en", "it")).texts[0]
    else:
        with pytest.raises(ProviderDownError, match="unreachable"):
            await google.translate(["El perro es negro"], "es", "en")
    await google.close()


async def test_a_language_that_google_does_not_have(files: Path, endpoint: str) -> None:
    google = provider(files, endpoint)
    with pytest.raises(ProviderRefusedError, match="pair_unsupported"):
        await google.translate(["Hola"], "es", "xx")
    await google.close()


async def test_an_invalid_project(files: Path, endpoint: str) -> None:
    google = provider(files, endpoint, project="X")
    with pytest.raises(ProviderRefusedError, match="refused"):
        await google.translate(["Hola"], "es", "en")
    await google.close()


async def test_a_key_that_is_not_known_then_the_right_one(
    files: Path, endpoint: str, tmp_path: Path
) -> None:
    other = keys(tmp_path)
    right = (files / "client/google.json").read_text()
    google = provider(other, endpoint, ca_file=files / "client/ca.crt")
    with pytest.raises(ProviderDownError, match="denied"):
        await google.translate(["Hola"], "es", "xx")
    await asyncio.to_thread((other / "client/google.json").write_text, right)
    await google.reload()
    with pytest.raises(ProviderRefusedError, match="pair_unsupported"):  # past the gate
        await google.translate(["Hola"], "es", "xx")
    await google.close()


async def test_a_key_file_that_is_missing_or_broken(tmp_path: Path) -> None:
    (tmp_path / "client").mkdir()
    google = provider(tmp_path, "localhost:9", ca_file=None)
    with pytest.raises(ProviderDownError, match="not_configured"):
        await google.translate(["Hola"], "es", "en")
    (tmp_path / "client/google.json").write_text('{"type": "service_account"}')
    with pytest.raises(ProviderDownError, match="not_configured"):
        await google.translate(["Hola"], "es", "en")
    await google.close()


async def test_another_ca_is_not_trusted(files: Path, endpoint: str, tmp_path: Path) -> None:
    google = provider(files, endpoint, ca_file=keys(tmp_path) / "client/ca.crt")
    with pytest.raises(ProviderDownError, match="unreachable"):
        await google.translate(["Hola"], "es", "en")
    await google.close()
