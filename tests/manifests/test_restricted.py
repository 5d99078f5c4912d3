"""Every pod satisfies the restricted Pod Security Standard, control by control.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from typing import Any

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def test_no_host_namespace_path_or_port(
    pod: dict[str, Any], containers: list[dict[str, Any]]
) -> None:
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in containers:
        assert not [port for port in container.get("ports", []) if "hostPort" in port]


def test_volumes_are_of_allowed_kinds(pod: dict[str, Any]) -> None:
    for volume in pod.get("volumes", []):
        assert set(volume) - {"name"} <= VOLUMES, volume["name"]


def test_it_runs_as_a_numbered_user_that_is_not_root(pod: dict[str, Any]) -> None:
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["runAsGroup"] > 0


def test_seccomp_uses_the_runtime_default(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_no_privileges_are_gained(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert not context.get("privileged")


def test_all_capabilities_are_dropped(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        capabilities = container["securityContext"]["capabilities"]
        assert capabilities["drop"] == ["ALL"]
        # The only capability that the standard allows to add.
        assert set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}
