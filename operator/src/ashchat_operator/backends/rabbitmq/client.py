"""The management HTTP API of RabbitMQ."""

from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from ashchat_operator.backends import connectivity
from ashchat_operator.backends.base import (
    Address,
    LoginRefusedError,
    PermissionMissingError,
    RefusedError,
    StartingError,
    UnreachableError,
)
from ashchat_operator.backends.rabbitmq.desired import RabbitMQTarget, VirtualHostState
from ashchat_operator.backends.rabbitmq.plan import Action, Definitions, api_path
from ashchat_operator.kube.concurrency import gather_limited

REQUEST_TIMEOUT_SECONDS: Final = 15.0
"""Seconds for one request; declaring a quorum queue on a busy node takes a few seconds."""

IMPORT_TIMEOUT_SECONDS: Final = 60.0
"""Seconds for importing a whole virtual host in one request."""

MAX_REQUESTS: Final = 8
"""Maximum concurrent requests."""


class ManagementClient:
    """The management HTTP API; `async with` closes its connections."""

    def __init__(
        self, target: RabbitMQTarget, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.username = target.username
        self._url = target.management_url.rstrip("/")
        self._target = target
        ca = target.address.ca if target.address is not None else None
        encrypted = self._url.startswith("https:")
        self._http = httpx2.AsyncClient(
            base_url=self._url,
            verify=connectivity.trust(ca or "") if encrypted else connectivity.no_trust(),
            auth=(target.username, target.password),
            transport=transport,
            trust_env=False,  # never through a proxy of the environment
        )

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def read(self, vhost: str) -> VirtualHostState:
        """Read the version, the virtual host, and all users.

        Raises:
            BackendError: See `perform`.
        """
        paths = {
            "overview": api_path("overview") + "?disable_stats=true",
            "exchanges": api_path("exchanges", vhost),
            "queues": api_path("queues", vhost) + "?disable_stats=true&enable_queue_totals=true",
            "bindings": api_path("bindings", vhost),
            "policies": api_path("policies", vhost),
        }
        if self._target.declare_users:
            paths["vhost"] = api_path("vhosts", vhost)
            paths["users"] = api_path("users")
            paths["permissions"] = api_path("vhosts", vhost, "permissions")
            seen: Mapping[str, Any] = {}
        else:
            # Only an administrator may read one virtual host; any user may read the list.
            seen = _by("name", await self._get(api_path("vhosts"))).get(vhost, {})
            if not seen:
                raise PermissionMissingError(self._lacks("", f"sees no virtual host {vhost}"))

        async def get(what: str) -> Any:
            # Everything else is missing if the virtual host is.
            return await self._get(
                paths[what], missing=None if what in {"overview", "users"} else []
            )

        found = dict(zip(paths, await gather_limited(get, paths, MAX_REQUESTS), strict=True))
        return VirtualHostState(
            vhost=found.get("vhost", seen) or None,
            version=str(found["overview"].get("rabbitmq_version", "")),
            exchanges=_by("name", found["exchanges"]),
            queues=_by("name", found["queues"]),
            bindings=tuple(found["bindings"]),
            policies=_by("name", found["policies"]),
            users=_by("name", found.get("users", [])),
            permissions=_by("user", found.get("permissions", [])),
        )

    async def quorum_queues(self) -> bool:
        """Return whether quorum queues are enabled; if that cannot be read, assume so."""
        response = await self._send("GET", api_path("feature-flags"), None)
        if not response.is_success:
            return True
        flag = _by("name", response.json()).get("quorum_queue")
        return flag is None or flag.get("state") == "enabled"

    async def define(self, definitions: Definitions) -> bool:
        """Import a definitions document; return whether the broker accepted it.

        Raises:
            UnreachableError: The server does not answer in time.
        """
        response = await self._send(
            "POST", api_path("definitions"), definitions, timeout_seconds=IMPORT_TIMEOUT_SECONDS
        )
        return response.is_success

    async def perform(self, action: Action) -> None:
        """Send one writing request; deleting something that does not exist succeeds.

        Raises:
            UnreachableError: The server does not answer in time.
            LoginRefusedError: The login is not accepted, or lacks the tag.
            StartingError: The node is still starting.
            RefusedError: Anything else that is not a success.
        """
        response = await self._send(action.method, action.path, action.body)
        if action.method == "DELETE" and response.status_code == httpx2.codes.NOT_FOUND:
            return
        await self._check(response, action.description)

    async def _get(self, path: str, *, missing: list[Any] | None = None) -> Any:
        response = await self._send("GET", path, None)
        if missing is not None and response.status_code == httpx2.codes.NOT_FOUND:
            return missing
        await self._check(response, "read " + path)
        return response.json()

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
    ) -> httpx2.Response:
        async def send() -> httpx2.Response:
            return await self._http.request(method, path, json=body, timeout=timeout_seconds)

        try:
            try:
                return await send()
            except httpx2.RemoteProtocolError:
                # The connection was closed instead of an answer. All requests are idempotent
                # (an import merges), so it is sent again (RFC 9110, section 9.2.2).
                return await send()
        except httpx2.HTTPError as error:
            raise UnreachableError(
                f"RabbitMQ's management API at {self._url} does not answer "
                f"({type(error).__name__}). Check that the pod is running "
                "and the management plugin is enabled."
            ) from error

    def _lacks(self, tags: str, what: str) -> str:
        name, vhost = self._target.username, self._target.vhost
        tag = "administrator" if self._target.declare_users else "policymaker"
        commands = [f"rabbitmqctl set_permissions -p {vhost} {name} '.*' '.*' '.*'"]
        if not {tag, "administrator"} & set(tags.split(",")):
            commands.insert(0, f"rabbitmqctl set_user_tags {name} {tag}")
        if self._target.declare_users:
            commands = commands[:1]
        hint = " If the provider does not allow that, set users: Provided."
        return (
            f"{name} of RabbitMQ at {self._url} {what}. Grant it: {'; '.join(commands)}."
            f"{hint if self._target.declare_users else ''}"
        )

    async def _refused_login(self, response: httpx2.Response, description: str) -> Exception:
        """Return the error of a 401 or 403: a wrong password and a missing tag look the same."""
        who = await self._send("GET", api_path("whoami"), None)
        if not who.is_success:
            return LoginRefusedError(
                f"RabbitMQ at {self._url} refuses the login of {self.username}, or the user "
                "lacks the tag management. Check its Secret."
            )
        tags = who.json().get("tags", "")
        tags = tags if isinstance(tags, str) else ",".join(tags)
        reason = _reason_of(response)
        return PermissionMissingError(
            self._lacks(tags, f"lacks a permission to: {description}. {reason}".rstrip(". "))
        )

    async def _check(self, response: httpx2.Response, description: str) -> None:
        status = response.status_code
        if response.is_success:
            return
        if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
            raise await self._refused_login(response, description)
        if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
            raise StartingError(
                f"RabbitMQ at {self._url} answered {status} to: {description}. "
                "It may still be starting."
            )
        raise RefusedError(
            f"RabbitMQ at {self._url} answered {status} to: {description}. "
            f"{_reason_of(response)}".strip()
        )


def management_address(target: RabbitMQTarget) -> Address:
    """Return the address of the management API, for explaining why it cannot be reached."""
    parts = urlsplit(target.management_url)
    ca = target.address.ca if target.address is not None else None
    encrypted = parts.scheme == "https"
    port = parts.port or (443 if encrypted else 80)
    return Address(parts.hostname or "", port, (ca or "") if encrypted else None)


def _by(key: str, objects: list[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(item[key]): item for item in objects}


def _reason_of(response: httpx2.Response) -> str:
    """Return the reason that the API gives; it names objects, never a password."""
    try:
        body = response.json()
    except ValueError:
        return ""
    return f"Reason: {body.get('reason', '')}" if isinstance(body, dict) else ""
