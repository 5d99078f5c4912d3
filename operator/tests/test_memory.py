"""What keeps the operator small, which another Python or library may not let be."""

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
def test_this_python_makes_a_tls_connections_buffer_of_the_size_it_is_told() -> None:
    assert "bytearray(self.max_size)" in inspect.getsource(SSLProtocol.__init__)
    assert SSLProtocol.max_size == TLS_BUFFER


@pytest.mark.usefixtures("memory_limited")
def test_what_was_loaded_is_out_of_the_collectors_sight() -> None:
    assert gc.get_freeze_count() > 10_000


CLIENTS = ("kubernetes", "kubernetes_asyncio", "pykube")
"""kopf loads each of them that is installed; one alone takes tens of MiB."""

HIDDEN = "import sys; sys.modules.update(dict.fromkeys(sys.argv[1:])); import ashchat_operator.main"


def test_the_operator_starts_without_a_client_of_generated_models() -> None:
    command = [sys.executable, "-c", HIDDEN, *CLIENTS]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_no_client_of_generated_models_is_in_the_operators_image() -> None:
    locked = (Path(__file__).parents[2] / "requirements" / "operator.txt").read_text()
    names = {line.partition("==")[0].replace("-", "_") for line in locked.splitlines()}
    assert "kopf" in names
    assert not {name for name in names if name.startswith(CLIENTS)}
