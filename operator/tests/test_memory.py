"""The measures that limit memory, which depend on Python's and libraries' internals."""

import gc
import inspect
import subprocess
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator
from pathlib import Path

import pytest

from ashchat_operator.main import TLS_BUFFER, limit_memory


@pytest.fixture
def memory_limited() -> Iterator[None]:
    former = SSLProtocol.max_size
    limit_memory()
    yield
    SSLProtocol.max_size = former
    gc.unfreeze()


@pytest.mark.usefixtures("memory_limited")
def test_this_python_allocates_tls_buffers_of_the_configured_size() -> None:
    assert "bytearray(self.max_size)" in inspect.getsource(SSLProtocol.__init__)
    assert SSLProtocol.max_size == TLS_BUFFER


@pytest.mark.usefixtures("memory_limited")
def test_loaded_modules_are_exempt_from_garbage_collection() -> None:
    assert gc.get_freeze_count() > 10_000


CLIENTS = ("kubernetes", "kubernetes_asyncio", "pykube")
"""kopf imports each of them if installed; each needs tens of MiB."""

HIDDEN = "import sys; sys.modules.update(dict.fromkeys(sys.argv[1:])); import ashchat_operator.main"


def test_the_operator_starts_without_a_generated_client() -> None:
    command = [sys.executable, "-c", HIDDEN, *CLIENTS]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_operators_image_contains_no_generated_client() -> None:
    locked = (Path(__file__).parents[2] / "requirements" / "operator.txt").read_text()
    names = {line.partition("==")[0].replace("-", "_") for line in locked.splitlines()}
    assert "kopf" in names
    assert not {name for name in names if name.startswith(CLIENTS)}
