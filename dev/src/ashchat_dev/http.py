"""HTTP clients that share what is costly to make."""

import functools
import ssl

import httpx2


@functools.cache
def _public_authorities() -> ssl.SSLContext:
    # Loading them takes 36 ms of CPU, and a client would load them for each instance.
    return httpx2.create_ssl_context()


def http_client(
    base_url: str, *, timeout: float, auth: tuple[str, str] | None = None
) -> httpx2.AsyncClient:
    """Return a client of a server; a proxy of the environment is not used.

    Args:
        base_url: The server's address; paths of requests are appended.
        timeout: Seconds that each step of a request may take.
        auth: Username and password for basic authentication.
    """
    return httpx2.AsyncClient(
        base_url=base_url,
        verify=_public_authorities(),
        timeout=timeout,
        auth=auth,
        trust_env=False,
    )
