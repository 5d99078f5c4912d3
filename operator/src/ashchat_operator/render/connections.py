"""The table of allowed connections, from which the NetworkPolicies are generated.

Whatever is not in it is denied, in both directions. docs/reference/network.md has the same table (a
test compares), and the policies are checked by evaluating them against it.

A port is a pod's, as policies see it: behind a Service's port (KEP-2079 and
https://kubernetes.io/docs/concepts/services-networking/network-policies/).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ashchat_core.topology import Service
from ashchat_operator.resource.enums import ExposureType, Provider
from ashchat_operator.resource.model import AshChat


class Outside(StrEnum):
    """Ends of connections that are not components of the AshChat."""

    CLIENTS = "clients"
    """Any address."""
    ROUTERS = "routers"
    """The pods that serve the Ingress or the Gateway, or route requests with exposure None."""
    OPERATOR = "the operator"
    METRICS = "metrics readers"
    DNS = "DNS"
    INTERNET = "outside"
    """Any address, inside or outside the cluster."""


HTTP: Final = "8080"
HTTPS: Final = "8443"
PRIVATE: Final = "9000"
SERVICES: Final = tuple(service.value for service in Service)
SMTP: Final = "smtp.port"
GOOGLE: Final = "google.endpoint"
GOOGLE_API_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class Row:
    """One allowed connection."""

    source: str
    target: str
    port: str
    """A number, or how to read it from the resource."""
    why: str


TABLE: Final = (
    Row(Outside.CLIENTS, "edge", HTTP, "all client traffic; with TLS only the redirect to HTTPS"),
    Row(Outside.CLIENTS, "edge", HTTPS, "all client traffic, with TLS"),
    Row("edge", "auth", HTTP, "/auth"),
    Row("edge", "chat", HTTP, "/chat, with its sockets"),
    Row("edge", "static", HTTP, "the front page and files"),
    Row(Outside.ROUTERS, "auth", HTTP, "/auth, without an edge"),
    Row(Outside.ROUTERS, "chat", HTTP, "/chat with its sockets, without an edge"),
    Row(Outside.ROUTERS, "static", HTTP, "the front page and files, without an edge"),
    Row("chat", "static", HTTP, "stores profile photos"),
    Row("auth", "rabbitmq", "5672", "requests to email and chat, account events"),
    Row("email", "rabbitmq", "5672", "consumes mails to send, publishes results of codes"),
    Row("chat", "rabbitmq", "5672", "consumes accounts and translations, requests translations"),
    Row("translate", "rabbitmq", "5672", "consumes texts, publishes translations"),
    Row("static", "rabbitmq", "5672", "consumes ended sessions and deletions of accounts"),
    Row("auth", "redis", "6379", "password resets"),
    Row("email", "redis", "6379", "pending sign-ups and codes"),
    Row("chat", "redis", "6379", "fan-out between its pods, ended sessions"),
    Row("translate", "cache", "6379", "the cache of translations, budgets"),
    Row("auth", "cache", "6379", "counters of limits"),
    Row("email", "cache", "6379", "counters of limits"),
    Row("chat", "cache", "6379", "counters of limits"),
    Row("auth", "mongodb", "27017", "accounts and sessions"),
    Row("chat", "mongodb", "27017", "rooms and messages"),
    Row("translate", "apertium", "2737", "translation within the cluster"),
    Row("translate", Outside.INTERNET, GOOGLE, "Google's API, with provider Google"),
    Row("email", Outside.INTERNET, SMTP, "delivers mails to the mail server"),
    Row(Outside.OPERATOR, "rabbitmq", "15672", "queues, users and permissions"),
    Row(Outside.OPERATOR, "redis", "6379", "users and permissions"),
    Row(Outside.OPERATOR, "cache", "6379", "users and permissions"),
    Row(Outside.OPERATOR, "mongodb", "27017", "users"),
    *(
        Row(Outside.OPERATOR, service, PRIVATE, "which credentials a pod uses")
        for service in SERVICES
    ),
    *(Row(Outside.METRICS, service, PRIVATE, "metrics") for service in (*SERVICES, "edge")),
    Row(Outside.METRICS, "rabbitmq", "15692", "metrics"),
    *(
        Row(component, Outside.DNS, port, "names")
        for component in ("edge", *SERVICES)
        # OpenShift's DNS pods listen on 5353.
        for port in ("53", "5353")
    ),
)

_NO_BACKEND: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of one AshChat."""

    source: str
    target: str
    port: int


def connections(
    ash: AshChat, present: Collection[str], external: Mapping[str, int] = _NO_BACKEND
) -> Iterator[Connection]:
    """Yield the connections allowed in one AshChat.

    Args:
        ash: Whose they are.
        present: Its components.
        external: Backends that were brought along, and the port of each: what would go to
            the component goes outside.
    """
    edge = ash.spec.exposure.type is ExposureType.EDGE
    metrics = bool(ash.spec.network_policy.metrics_from)
    for row in TABLE:
        if row.source == Outside.ROUTERS and edge:
            continue
        if row.source == Outside.METRICS and not metrics:
            continue
        if row.source not in {*present, *Outside}:
            continue
        port = _port(ash, row.port)
        target: str = row.target
        if target in external and row.source in present:
            target, port = Outside.INTERNET, external[target]
        if port is not None and target in {*present, *Outside}:
            yield Connection(row.source, target, port)


def _port(ash: AshChat, port: str) -> int | None:
    """Return a port's number, or None if this AshChat has no such connection."""
    chosen = _CHOSEN.get(port)
    return chosen(ash) if chosen else int(port)


def _google(ash: AshChat) -> int | None:
    spec = ash.spec.translate
    if spec.provider is not Provider.GOOGLE or spec.google is None:
        return None
    if spec.google.endpoint is None:
        return GOOGLE_API_PORT
    return int(spec.google.endpoint.rpartition(":")[2])


def _https(ash: AshChat) -> int | None:
    return int(HTTPS) if ash.spec.exposure.edge.tls is not None else None


_CHOSEN: Final[Mapping[str, Callable[[AshChat], int | None]]] = {
    SMTP: lambda ash: ash.spec.email.smtp.port,
    GOOGLE: _google,
    HTTPS: _https,
}
