"""Selects the AshChat, and connects to its broker."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ashchat_cli.broker import Broker, Login
from ashchat_cli.cluster import Cluster
from ashchat_cli.faults import CliError, Exit
from ashchat_cli.objects import Object, is_ready, labels
from ashchat_cli.tunnel import tunnel
from ashchat_core.topology import VHOST

AMQP_PORT: Final = 5672


async def select(cluster: Cluster, name: str) -> Object:
    """Return the AshChat of this name; without a name, the only one of the namespace.

    Raises:
        CliError: There is none, there are several, or the API server does not answer.
    """
    namespace = cluster.namespace
    if name:
        found = await cluster.find("ashchats", namespace, name)
        if found is None:
            raise CliError(Exit.NOT_FOUND, f"there is no AshChat {name} in namespace {namespace}")
        return found
    all_of_them = await cluster.list("ashchats", namespace)
    names = ", ".join(sorted(each["metadata"]["name"] for each in all_of_them))
    if not all_of_them:
        raise CliError(Exit.NOT_FOUND, f"there is no AshChat in namespace {namespace} (see -n, -A)")
    if len(all_of_them) > 1:
        raise CliError(
            Exit.USAGE, f"there are several AshChats in namespace {namespace}; name one: {names}"
        )
    return all_of_them[0]


@asynccontextmanager
async def broker_of(cluster: Cluster, resource: Object) -> AsyncIterator[Broker]:
    """Connect to an AshChat's RabbitMQ through the API server, as its administrator.

    It takes the rights to read the Secret NAME-rabbitmq-admin and to forward a port of a pod.

    Raises:
        CliError: It is not one that the operator runs, it has no pod, or a right is missing.
    """
    name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
    if "external" in resource["spec"].get("rabbitmq", {}):
        raise CliError(
            Exit.UNREACHABLE,
            "RabbitMQ is external: only a managed one can be reached through the API server",
        )
    pods = await cluster.list("pods", namespace, labels(name, "rabbitmq"))
    pod = next((each["metadata"]["name"] for each in pods if is_ready(each)), None)
    if pod is None:
        raise CliError(Exit.UNREACHABLE, "no pod of RabbitMQ is ready")
    secret = await cluster.find("secrets", namespace, f"{name}-rabbitmq-admin")
    if secret is None:
        raise CliError(Exit.NOT_FOUND, f"Secret {name}-rabbitmq-admin does not exist")
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    login = Login(data["username"], data["password"], VHOST)
    async with tunnel(cluster, namespace, pod, AMQP_PORT) as opened:
        try:
            async with Broker.connect(opened.port, login) as broker:
                yield broker
        except CliError as error:
            # The reason why the tunnel did not open is more specific than a missing answer.
            if error.code is Exit.UNREACHABLE and opened.fault is not None:
                raise opened.fault from None
            raise
