"""Explains why a server cannot be reached: its name, port, packets or certificate.

The client libraries each wrap such errors in their own way, several levels deep. So when one of
them fails, or does not use the connection at all (the AMQP port), it is tried here step by step.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from ashchat_operator.backends.base import (
    Address,
    BackendError,
    BackendResult,
    TlsFailedError,
    UnreachableError,
)

TIMEOUT_SECONDS: Final = 5.0
"""Seconds for the name, the connection and the handshake, each."""

SERVICE_LAG_SECONDS: Final = 2.0
"""Seconds after a pod became ready in which its Service may still refuse a connection:
kube-proxy writes its rules once a second
(https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/, minSyncPeriod)."""

RETRY_SECONDS: Final = 0.1

# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/#error-codes
_NOT_YET_VALID: Final = frozenset({9})
_EXPIRED: Final = frozenset({10})
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_WRONG_NAME: Final = frozenset({62, 64})


def trust(ca: str) -> ssl.SSLContext:
    """Return a context that verifies certificate and name.

    Args:
        ca: The authority (PEM); empty: the public ones.

    Raises:
        TlsFailedError: The authority cannot be read.
    """
    try:
        return ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError) as error:
        raise TlsFailedError(
            "the authority in ca.crt is not a certificate (PEM). Store the one that signed the "
            "certificate of the server."
        ) from error


def no_trust() -> ssl.SSLContext:
    """Return a context that trusts no certificate, for clients that only speak plain HTTP.

    A client without a context reads all public authorities, which blocks the event loop for 30 ms
    and takes half a megabyte each time.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def check(product: str, address: Address) -> None:
    """Connect once, with a TLS handshake if there is TLS; nothing is sent.

    Args:
        product: The name of the server, for messages.
        address: Its address.

    Raises:
        UnreachableError: The name does not resolve, nothing listens, or no packet comes back.
        TlsFailedError: The certificate is not trusted, or there is no TLS.
    """
    where = f"{product} at {address}"
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await asyncio.get_running_loop().getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM
            )
    except (socket.gaierror, UnicodeError) as error:
        raise UnreachableError(
            f"the name {address.host} of {product} does not resolve (DNS). Check that it is "
            "correct and known inside the cluster."
        ) from error
    except TimeoutError as error:
        raise UnreachableError(f"no DNS server answered for the name {address.host}.") from error
    context = None if address.ca is None else trust(address.ca)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        raise TlsFailedError(f"{where}: {_certificate(error, address)}") from error
    except TimeoutError as error:
        raise UnreachableError(
            f"{where} did not answer within {TIMEOUT_SECONDS:g} s. A firewall or a NetworkPolicy "
            "may drop the packets, or the server is down."
        ) from error
    except ConnectionRefusedError as error:
        raise UnreachableError(
            f"{where} refuses the connection: nothing listens on that port, or a firewall "
            "rejects it."
        ) from error
    except (ssl.SSLError, ConnectionResetError, asyncio.IncompleteReadError) as error:
        if context is None:
            raise UnreachableError(f"{where} closes the connection immediately.") from error
        raise TlsFailedError(
            f"{where} does not speak TLS on that port ({type(error).__name__}). Use the port "
            "that does, or set tls.enabled to false."
        ) from error
    except OSError as error:
        raise UnreachableError(f"{where} cannot be reached: {error.strerror or error}.") from error
    writer.close()


def _certificate(error: ssl.SSLCertVerificationError, address: Address) -> str:
    code = error.verify_code
    if code in _UNKNOWN_AUTHORITY:
        given = (
            "that of tls.caSecretRef" if address.ca else "a public one; name it in tls.caSecretRef"
        )
        return f"its certificate was signed by another authority than {given}."
    if code in _WRONG_NAME:
        return (
            f"its certificate does not cover the name {address.host}. Use a name that it covers, "
            "or issue a certificate for this one."
        )
    if code in _EXPIRED:
        return "its certificate has expired. Renew it at the server."
    if code in _NOT_YET_VALID:
        return "its certificate is not valid yet. Compare the clocks."
    return f"its certificate is not accepted: {error.verify_message}."


async def retry_unreachable(
    ask: Callable[[], Awaitable[BackendResult]],
) -> BackendResult:
    """Ask a managed backend, again while its Service lags behind its pod.

    Args:
        ask: One attempt.

    Raises:
        UnreachableError: The backend was still unreachable after SERVICE_LAG_SECONDS.
        BackendError: What the attempt raised.
    """
    ends = time.monotonic() + SERVICE_LAG_SECONDS
    while True:
        try:
            return await ask()
        except UnreachableError:
            if time.monotonic() >= ends:
                raise
        await asyncio.sleep(RETRY_SECONDS)


@asynccontextmanager
async def explained(product: str, address: Address | None) -> AsyncIterator[None]:
    """Replace an UnreachableError by the exact reason why the server cannot be reached.

    Args:
        product: The server's name, for the message.
        address: Its address; None: the error is raised as it is.

    Raises:
        BackendError: The server cannot be reached.
    """
    try:
        yield
    except UnreachableError as error:
        if address is None:
            raise
        raise await _explanation(error, product, address) from error


async def _explanation(error: UnreachableError, product: str, address: Address) -> BackendError:
    try:
        await check(product, address)
    except BackendError as exact:
        return exact
    if address.ca is None:
        return UnreachableError(
            f"{error} The port is open, and may expect TLS: set tls.enabled to true."
        )
    return error
