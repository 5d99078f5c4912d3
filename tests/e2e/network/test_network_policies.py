"""All actual connections of an AshChat are in the table from which policies are generated.

They are read from the pods' connection tables (proc(5), /proc/net/tcp) while users sign up, chat
and upload files; so the test also works in clusters that do not enforce policies.
"""

import asyncio
import ipaddress
import json
from typing import Any, Final, NamedTuple

from ashchat_core.api.names import Label
from ashchat_core.topology import Service
from ashchat_dev.conversation import converse
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.people import PersonFactory
from ashchat_operator.render import platform
from ashchat_operator.render.connections import Outside, connections
from ashchat_operator.resource.model import AshChat

CLIENTS: Final = tuple(service.value for service in Service)
LISTEN, TIME_WAIT = 0x0A, 0x06
WITHIN_S: Final = 60.0
READ = "import json,pathlib;print(json.dumps(pathlib.Path('/proc/net/tcp').read_text()))"


class Seen(NamedTuple):
    """A connection that a pod opened."""

    source: str
    target: str
    port: int


def rows(text: str) -> list[tuple[str, int, str, int, int]]:
    """Return the local address and port, the remote ones, and the state of each TCP connection."""
    found = []
    for line in text.splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        ends: list[Any] = []
        for end in (local, remote):
            address, port = end.split(":")
            # Written in the machine's byte order, which is little-endian on most.
            ends += [str(ipaddress.ip_address(bytes.fromhex(address)[::-1])), int(port, 16)]
        found.append((ends[0], ends[1], ends[2], ends[3], int(state, 16)))
    return found


async def begun(cluster: Cluster, component: str) -> set[tuple[str, int]]:
    """Return where a component's pods have connected to: address and port."""
    result = set()
    for pod in await cluster.pods(component):
        text = await cluster.exec(pod, "/opt/ashchat/bin/python", "-c", READ, container=component)
        table = rows(json.loads(text))
        listening = {port for _, port, _, _, state in table if state == LISTEN}
        result |= {
            (address, port)
            for _, own, address, port, state in table
            if state not in {LISTEN, TIME_WAIT} and own not in listening and port
        }
    return {end for end in result if not ipaddress.ip_address(end[0]).is_loopback}


async def components_by_address(cluster: Cluster) -> dict[tuple[str, int], tuple[str, int]]:
    """Return which component, and which port of its pods, is at an address and port."""
    labels = cluster.labels()
    found: dict[tuple[str, int], tuple[str, int]] = {}
    for service in await cluster.list("services", labels):
        component = service["spec"]["selector"][Label.COMPONENT]
        for port in service["spec"]["ports"]:
            found[service["spec"]["clusterIP"], port["port"]] = (component, port["targetPort"])
    for pod in await cluster.list("pods", labels):
        component = pod["metadata"]["labels"][Label.COMPONENT]
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", []):
                number = port["containerPort"]
                found[pod["status"].get("podIP", ""), number] = (component, number)
    return found


NEEDED: Final = {
    Seen("auth", "mongodb", 27017),
    Seen("auth", "redis", 6379),
    Seen("email", "rabbitmq", 5672),
    Seen("chat", "mongodb", 27017),
    Seen("chat", "rabbitmq", 5672),
    Seen("translate", "cache", 6379),
    Seen("static", "rabbitmq", 5672),
}
"""What those two people need; samples without them saw nothing."""


async def test_every_actual_connection_is_in_the_table(
    cluster: Cluster, person: PersonFactory
) -> None:
    seen: set[Seen] = set()
    # A pool may have closed an idle connection, so the samples are taken while it is in use.
    async with asyncio.timeout(WITHIN_S):
        while not seen >= NEEDED:
            talking = asyncio.create_task(sign_up_and_talk(person))
            while not talking.done():
                seen |= await sample(cluster)
            await talking
    ash = AshChat.parse(await cluster.resource())
    tabled = {
        Seen(row.source, row.target, row.port) for row in connections(ash, platform.components(ash))
    }
    unknown = {
        one
        for one in seen
        if one not in tabled and Seen(one.source, Outside.INTERNET, one.port) not in tabled
    }
    assert not unknown, unknown


async def sign_up_and_talk(person: PersonFactory) -> None:
    """Let two people sign up, talk and reset a password, which auth stores in Redis."""
    ana, ben = await person(), await person("Ben", "en")
    await converse(ana, ben)
    reply = await ben.auth.request("POST", "/password", json={"email": ben.email})
    assert reply.status == 202


async def sample(cluster: Cluster) -> set[Seen]:
    """Return the connections that the services' pods have open now."""
    who = await components_by_address(cluster)
    tables = await asyncio.gather(*(begun(cluster, name) for name in CLIENTS))
    return {
        Seen(component, *who.get(end, (Outside.INTERNET, end[1])))
        for component, ends in zip(CLIENTS, tables, strict=True)
        for end in ends
    }
