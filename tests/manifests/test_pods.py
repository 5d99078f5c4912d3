"""Requirements on every pod beyond the Pod Security Standard."""

import inspect
from typing import Any

import pytest

from ashchat_chat.wire import socket
from ashchat_core import redis, runtime
from ashchat_core.amqp import Broker
from ashchat_core.topology import Service

STATEFUL = {"rabbitmq", "redis", "mongodb", "cache"}
SERVICES = {service.value for service in Service}
OURS = {*SERVICES, "apertium", "edge", "operator", "test", "uninstall"}
"""Components whose images' user is our choice."""

DRAIN_SECONDS = inspect.signature(Broker.stop).parameters["drain_seconds"].default
FAREWELL_SECONDS = (
    redis.TIMEOUT_SECONDS + redis.RETRIES * redis.CONNECT_SECONDS + 2 * socket.FAREWELL_SECONDS
)
"""Chat publishes to Redis, even if it is down, closes sockets in waves, and awaits the last."""

MARGIN_SECONDS = 3
"""A margin for closing connections, and for a busy node."""


def component_of(workload: dict[str, Any]) -> str:
    template = workload["spec"].get("template", workload)
    component: str = template["metadata"]["labels"]["app.kubernetes.io/component"]
    return component


def test_the_root_is_read_only(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_only_the_operator_mounts_a_token(pod: dict[str, Any], workload: dict[str, Any]) -> None:
    operator = workload["metadata"]["labels"]["app.kubernetes.io/name"] == "ashchat-operator"
    assert pod["automountServiceAccountToken"] is operator


def test_no_service_links_in_the_environment(pod: dict[str, Any]) -> None:
    assert pod["enableServiceLinks"] is False


def test_resources_are_requested_and_memory_is_limited(
    containers: list[dict[str, Any]],
) -> None:
    for container in containers:
        resources = container["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"]), container["name"]
        assert "memory" in resources["limits"], container["name"]


@pytest.mark.usefixtures("lasting")
def test_it_has_startup_and_readiness_probes(
    pod: dict[str, Any], containers: list[dict[str, Any]]
) -> None:
    sidecars = [c for c in containers if c.get("restartPolicy") == "Always"]
    for container in [*pod["containers"], *sidecars]:
        assert "startupProbe" in container, container["name"]
    # A sidecar is reached only through a container, whose probe therefore includes it.
    for container in pod["containers"]:
        assert "readinessProbe" in container, container["name"]


@pytest.mark.usefixtures("lasting")
def test_it_has_a_liveness_probe(pod: dict[str, Any], workload: dict[str, Any]) -> None:
    component = workload["metadata"]["labels"].get("app.kubernetes.io/component")
    for container in pod["containers"]:
        if component in {"rabbitmq", "mongodb"} and container["name"] in {"rabbitmq", "mongodb"}:
            # A slow broker or database must not be killed for being slow.
            assert "livenessProbe" not in container
        else:
            assert "livenessProbe" in container, container["name"]


def test_startup_probes_allow_a_minute_for_a_slow_node(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        probe = container.get("startupProbe")
        if probe is not None:
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 60, container["name"]


def test_nothing_secret_is_in_the_environment(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        assert "envFrom" not in container
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            assert "secretKeyRef" not in source, variable["name"]
            assert "generated-and-long-enough" not in variable.get("value", "")


def test_every_mount_has_its_volume(
    pod: dict[str, Any], containers: list[dict[str, Any]], workload: dict[str, Any]
) -> None:
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    claims = workload["spec"].get("volumeClaimTemplates", [])
    volumes |= {claim["metadata"]["name"] for claim in claims}
    used = {mount["name"] for c in containers for mount in c.get("volumeMounts", [])}
    assert used == volumes


def test_secrets_are_read_only_and_not_world_readable(pod: dict[str, Any]) -> None:
    secret = {volume["name"] for volume in pod.get("volumes", []) if "secret" in volume}
    for volume in pod.get("volumes", []):
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] & 0o007 == 0, volume["name"]
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] in secret:
                assert mount["readOnly"] is True
                # A subPath mount is never updated.
                assert "subPath" not in mount


def test_scratch_space_is_limited(pod: dict[str, Any]) -> None:
    for volume in pod.get("volumes", []):
        if "emptyDir" in volume:
            assert "sizeLimit" in volume["emptyDir"], volume["name"]


def test_ports_have_names_that_are_unique(pod: dict[str, Any]) -> None:
    names = [port["name"] for c in pod["containers"] for port in c.get("ports", [])]
    assert len(names) == len(set(names))


def test_its_grace_period_is_long_enough(pod: dict[str, Any]) -> None:
    for container in pod["containers"]:
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        assert pod.get("terminationGracePeriodSeconds", 30) >= pause.get("seconds", 0) + 7


def test_a_service_is_not_killed_while_it_ends(
    pod: dict[str, Any], workload: dict[str, Any]
) -> None:
    component = component_of(workload)
    if component in SERVICES:
        (container,) = pod["containers"]
        # Without a pause, requests would still be routed to a pod that no longer accepts any.
        needed = container["lifecycle"]["preStop"]["sleep"]["seconds"] + MARGIN_SECONDS
        needed += runtime.ENDING_SECONDS + DRAIN_SECONDS + runtime.GRACE_SECONDS
        if component == Service.CHAT:
            needed += FAREWELL_SECONDS
        assert pod["terminationGracePeriodSeconds"] >= needed


def test_a_hook_executes_nothing(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        for hook in container.get("lifecycle", {}).values():
            assert set(hook) == {"sleep"}, container["name"]


def test_a_services_probes_start_no_process(pod: dict[str, Any], workload: dict[str, Any]) -> None:
    if component_of(workload) in SERVICES:
        (container,) = pod["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert "httpGet" in container[probe], probe
            assert "exec" not in container[probe], probe


def test_the_broker_is_ready_when_it_accepts_connections(
    pod: dict[str, Any], workload: dict[str, Any]
) -> None:
    if component_of(workload) == "rabbitmq":
        (container,) = pod["containers"]
        # The image's own command would start an Erlang node every few seconds.
        for probe in ("startupProbe", "readinessProbe"):
            assert container[probe]["tcpSocket"] == {"port": 5672}, probe
            assert "exec" not in container[probe], probe


def test_our_user_ids_are_above_those_of_the_node(
    pod: dict[str, Any], containers: list[dict[str, Any]], workload: dict[str, Any]
) -> None:
    if component_of(workload) in OURS:
        whole = pod["securityContext"]
        for context in (whole, *(container["securityContext"] for container in containers)):
            assert context.get("runAsUser", whole["runAsUser"]) >= 10000


@pytest.mark.usefixtures("lasting")
def test_reloader_leaves_it_alone(workload: dict[str, Any]) -> None:
    # Not in the pod template: there it would restart pods on an upgrade.
    assert workload["metadata"]["annotations"]["reloader.stakater.com/auto"] == "false"


@pytest.mark.parametrize("key", ["nodeName", "priorityClassName", "hostUsers"])
def test_it_does_not_constrain_scheduling(pod: dict[str, Any], key: str) -> None:
    assert key not in pod


def test_no_two_pods_write_the_same_volume(
    containers: list[dict[str, Any]], workload: dict[str, Any]
) -> None:
    if workload["kind"] != "StatefulSet":
        return
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    writers = [
        (container, mount["mountPath"])
        for container in containers
        for mount in container.get("volumeMounts", [])
        if mount["name"] == claim["metadata"]["name"] and container["name"] != "erlang-cookie"
    ]
    assert len(writers) == 1
    ((container, path),) = writers
    # A force-deleted pod may still write while its successor starts.
    assert container["command"][:3] == ["flock", "--no-fork", f"{path}/.ashchat.lock"]
