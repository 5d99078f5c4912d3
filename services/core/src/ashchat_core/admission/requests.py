"""How many HTTP requests the networks of a client may make, whatever they ask for.

This is asked before anything else, so it counts in the process and asks no backend.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ashchat_core.admission.gate import Admission
from ashchat_core.admission.networks import network_buckets
from ashchat_core.admission.rules import Rate
from ashchat_core.client_address import address_of
from ashchat_core.errors import too_many_requests
from ashchat_core.request_bodies import Respond

LIMIT = "requests.network"
PERIOD_SECONDS = 60.0


class NetworkRequests:
    """Counts the requests of networks, in the process.

    Args:
        per_minute: Maximum requests of one network per minute.
        trusted_proxies: Networks (CIDR, comma-separated) whose X-Forwarded-For header is trusted.
    """

    def __init__(self, per_minute: int, trusted_proxies: str) -> None:
        self._rate = Rate(per_minute, PERIOD_SECONDS)
        self._trusted_proxies = trusted_proxies
        self._admission = Admission()

    async def charge(self, peer: str | None, forwarded: Sequence[str]) -> int:
        """Charge a request to its client's networks.

        Args:
            peer: The address that the connection comes from.
            forwarded: The values of X-Forwarded-For, one per header line.

        Returns:
            Seconds until there is room for it; 0: it was charged.
        """
        address = address_of(peer, forwarded, self._trusted_proxies)
        return await self._admission.take(network_buckets(LIMIT, address, self._rate))


class RequestLimit:
    """Refuses the requests of networks that make too many.

    Args:
        app: The application.
        respond: Returns the response to an error.
        requests: Counts the requests.
    """

    def __init__(self, app: ASGIApp, *, respond: Respond, requests: NetworkRequests) -> None:
        self._app = app
        self._respond = respond
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Charge the request to its client's networks, then pass it on."""
        if scope["type"] == "http":
            request = Request(scope)
            peer = request.client.host if request.client else None
            wait = await self._requests.charge(peer, request.headers.getlist("x-forwarded-for"))
            if wait:
                await self._respond(too_many_requests(wait))(scope, receive, send)
                return
        await self._app(scope, receive, send)
