"""How many HTTP requests the networks of a client may make, whatever they ask for.

This is asked before anything else, so it counts in the process and asks no backend.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ashchat_core.admission.gate import Admission
from ashchat_core.admission.networks import network_buckets
from ashchat_core.admission.rules import Rate
from ashchat_core.client_address import client_address
from ashchat_core.errors import too_many_requests
from ashchat_core.request_bodies import Respond

LIMIT = "requests.network"
PERIOD_SECONDS = 60.0


class RequestLimit:
    """Refuses the requests of networks that make too many.

    Args:
        app: The application.
        respond: Returns the response to an error.
        per_minute: Maximum requests of one network per minute.
        trusted_proxies: Networks whose X-Forwarded-For header is trusted.
    """

    def __init__(
        self, app: ASGIApp, *, respond: Respond, per_minute: int, trusted_proxies: str
    ) -> None:
        self._app = app
        self._respond = respond
        self._rate = Rate(per_minute, PERIOD_SECONDS)
        self._trusted_proxies = trusted_proxies
        self._admission = Admission()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Charge the request to its client's networks, then pass it on."""
        if scope["type"] == "http":
            address = client_address(Request(scope), self._trusted_proxies)
            wait = await self._admission.take(network_buckets(LIMIT, address, self._rate))
            if wait:
                await self._respond(too_many_requests(wait))(scope, receive, send)
                return
        await self._app(scope, receive, send)
