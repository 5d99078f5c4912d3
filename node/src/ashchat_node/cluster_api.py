"""The cluster's API, through kubectl: apply objects, and wait for the cluster."""

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ashchat_node import kubelet, volumes
from ashchat_node.commands import capture
from ashchat_node.containerd import Containerd
from ashchat_node.errors import NodeError, tail
from ashchat_node.paths import Paths
from ashchat_node.progress import Progress, Step

_API_SECONDS: Final = 180.0
_READY_SECONDS: Final = 180
_POLL_SECONDS: Final = 0.2


class ClusterApi:
    """The API server of the node."""

    def __init__(self, paths: Paths, program: Path) -> None:
        """Use the kubectl of the node with the administrator's kubeconfig."""
        self._paths = paths
        self._program = program

    def apply(self, objects: list[dict[str, Any]]) -> None:
        """Apply objects.

        Raises:
            NodeError: The API server rejects one.
        """
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(listed))

    def wait_until_up(self, step: Step) -> None:
        """Wait until the API server responds.

        Raises:
            NodeError: It does not.
        """
        deadline = time.monotonic() + _API_SECONDS
        step.detail("the API server")
        while not self._up():
            if time.monotonic() > deadline:
                raise NodeError(
                    "start",
                    "the API server does not answer",
                    tail(self._paths.log / "kubelet.log"),
                    "Run `down`, then `up` for a new cluster.",
                )
            time.sleep(_POLL_SECONDS)

    def wait_until_reported(self, containerd: Containerd, step: Step) -> None:
        """Wait until no pod reports a container that died in the crash.

        Until the kubelet has reported, the API server returns the state before the crash.
        """
        step.detail("the kubelet's reports")
        deadline = time.monotonic() + _API_SECONDS
        while True:
            with contextlib.suppress(NodeError):
                pods = json.loads(self.kubectl("get", "pods", "--all-namespaces", "-ojson"))
                if claimed_containers(pods) <= containerd.running_containers():
                    return
            if time.monotonic() > deadline:
                raise NodeError(
                    "start",
                    "the kubelet does not report",
                    tail(self._paths.log / "kubelet.log"),
                    "Run `down`, then `up` for a new cluster.",
                )
            time.sleep(_POLL_SECONDS)

    def wait_until_ready(self, progress: Progress) -> None:
        """Wait until the node and its own workloads are ready.

        Raises:
            NodeError: One does not become ready.
        """
        with progress.step("wait for Ready") as step:
            step.detail("node")
            self.kubectl(
                "wait", "node", kubelet.NODE_NAME, "--for=condition=Ready",
                f"--timeout={_READY_SECONDS}s", seconds=_READY_SECONDS + 10,
            )  # fmt: skip
            for namespace, name, pods in (
                ("kube-system", "daemonset/kube-proxy", "k8s-app=kube-proxy"),
                ("kube-system", "deployment/coredns", "k8s-app=kube-dns"),
                (volumes.NAMESPACE, f"deployment/{volumes.NAME}", f"app={volumes.NAME}"),
            ):
                step.detail(name)
                self.rollout(namespace, name)
                # After a crash the rollout's status is older than that of the pods.
                self.kubectl(
                    "wait", "pod", f"--namespace={namespace}", f"--selector={pods}",
                    "--for=condition=Ready", f"--timeout={_READY_SECONDS}s",
                    seconds=_READY_SECONDS + 10,
                )  # fmt: skip

    def rollout(self, namespace: str, name: str) -> None:
        """Wait until a workload is rolled out.

        Raises:
            NodeError: It is not in time.
        """
        self.kubectl(
            "rollout", "status", f"--namespace={namespace}", name,
            f"--timeout={_READY_SECONDS}s", seconds=_READY_SECONDS + 10,
        )  # fmt: skip

    def _up(self) -> bool:
        with contextlib.suppress(NodeError):
            return self.kubectl("get", "--raw=/readyz", "--request-timeout=2s") == "ok"
        return False

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        """Run kubectl and return its output.

        Raises:
            NodeError: It failed.
        """
        return capture(
            f"kubectl {arguments[0]}",
            [self._program, f"--kubeconfig={self._paths.kubeconfig}", *arguments],
            stdin=stdin,
            timeout_seconds=seconds,
        )


def claimed_containers(pods: Mapping[str, Any]) -> frozenset[str]:
    """Return the ids of the containers that are running according to a PodList."""
    return frozenset(
        status["containerID"].rpartition("/")[2]
        for pod in pods["items"]
        for status in pod.get("status", {}).get("containerStatuses", ())
        if "running" in status.get("state", {})
    )
