"""What the operator asks of Python's own TLS, which another version of Python may not have."""

import gc
import inspect
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator

import pytest

from ashchat_operator.main import TLS_BUFFER, lean


@pytest.fixture
def leaned() -> Iterator[None]:
    former = SSLProtocol.max_size
    lean()
    yield
    SSLProtocol.max_size = former
    gc.unfreeze()


@pytest.mark.usefixtures("leaned")
def test_this_python_makes_a_tls_connections_buffer_of_the_size_it_is_told() -> None:
    assert "bytearray(self.max_size)" in inspect.getsource(SSLProtocol.__init__)
    assert SSLProtocol.max_size == TLS_BUFFER


@pytest.mark.usefixtures("leaned")
def test_what_was_loaded_is_out_of_the_collectors_sight() -> None:
    assert gc.get_freeze_count() > 10_000
