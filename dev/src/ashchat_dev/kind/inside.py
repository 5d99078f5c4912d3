"""What is done inside a kind cluster: its network, its workloads, and waiting for them."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ashchat_dev.kind import pod_network
from ashchat_dev.kind.cluster import EXEC_SECONDS, KindCluster
from ashchat_dev.kind.pod_network import PodNetwork
from ashchat_node import metrics
from ashchat_node.errors import NodeError
from ashchat_node.progress import Progress, Step

_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_READY_SECONDS: Final = 180
_SUBNETS_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2


class ClusterInside:
    """The API server and the nodes of a kind cluster, reached through its containers."""

    def __init__(self, cluster: KindCluster) -> None:
        self._cluster = cluster

    def kubectl(self, *arguments: str, stdin: str = "", seconds: float = EXEC_SECONDS) -> str:
        """Run kubectl on the control plane and return its output.

        Raises:
            NodeError: It failed.
        """
        return self._cluster.execute(
            self._cluster.control_plane, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf",
            *arguments, stdin=stdin, seconds=seconds,
        )  # fmt: skip

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Apply objects.

        Raises:
            NodeError: The API server rejects one.
        """
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(listed))

    def ready(self) -> bool:
        """Return whether all nodes are Ready."""
        try:
            listed = self.kubectl(
                "get", "nodes", "--request-timeout=5s",
                '--output=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}',
            )  # fmt: skip
            return listed.split() == ["True"] * len(self._cluster.nodes())
        except NodeError:
            return False

    def wait_until_ready(self, step: Step) -> None:
        """Wait until the nodes, DNS and volumes are ready.

        Raises:
            NodeError: One does not become ready.
        """
        step.detail("nodes")
        self.kubectl(
            "wait", "nodes", "--all", "--for=condition=Ready", f"--timeout={_READY_SECONDS}s",
            seconds=_READY_SECONDS + 10,
        )  # fmt: skip
        for namespace, deployment in (
            ("kube-system", "coredns"),
            ("local-path-storage", "local-path-provisioner"),
        ):
            step.detail(deployment)
            self.rollout(namespace, deployment)

    def rollout(self, namespace: str, deployment: str) -> None:
        """Wait until a Deployment is rolled out.

        Raises:
            NodeError: It is not in time.
        """
        self.kubectl(
            "rollout", "status", f"--namespace={namespace}", f"deployment/{deployment}",
            f"--timeout={_READY_SECONDS}s", seconds=_READY_SECONDS + 10,
        )  # fmt: skip

    def connect_pods(self, pod_subnet: str) -> None:
        """Set up the pod network of nodes that have none.

        Raises:
            NodeError: The control plane assigns no pod addresses, or a node rejects a route.
        """
        found = self._pod_networks()
        for own in found:
            # Renamed into place: the runtime must not read half a file.
            self._write(own.node, pod_network.CNI_FILE, pod_network.cni_config(own), "644")
            text = pod_network.script(own, found, pod_subnet)
            self._write(own.node, pod_network.SCRIPT, text, "755")
            self._cluster.execute(own.node, "systemctl", "restart", pod_network.UNIT)

    def place_volumes(self, node: str) -> None:
        """Let all dynamic volumes of the default StorageClass be on one node.

        Raises:
            NodeError: There is no default StorageClass.
        """
        classes = json.loads(self.kubectl("get", "storageclasses", "--output=json"))["items"]
        placed = json.dumps(storage_class_on(node, classes))
        # A StorageClass cannot be changed.
        self.kubectl("replace", "--force", "--filename=-", stdin=placed)

    def measure(self, image: str, progress: Progress) -> None:
        """Install metrics-server, which autoscalers need, unless it is this image.

        Raises:
            NodeError: A node does not run, or metrics-server does not start.
        """
        if self._measured() == image:
            return
        with progress.step(metrics.NAME):
            self.apply(metrics.objects(image, self._kubelets()))
            self.rollout(metrics.NAMESPACE, metrics.NAME)

    def _measured(self) -> str:
        return self.kubectl(
            "get", f"deployment/{metrics.NAME}", f"--namespace={metrics.NAMESPACE}",
            "--ignore-not-found",
            "--output=jsonpath={.spec.template.spec.containers[0].image}",
        )  # fmt: skip

    def _kubelets(self) -> list[metrics.Kubelet]:
        file = str(metrics.KUBELET_CERTIFICATE)
        return [
            metrics.Kubelet(each.node, each.address, self._cluster.execute(each.node, "cat", file))
            for each in self._pod_networks()
        ]

    def _pod_networks(self) -> list[PodNetwork]:
        deadline = time.monotonic() + _SUBNETS_SECONDS
        while True:
            nodes = json.loads(self.kubectl("get", "nodes", "--output=json"))
            if (found := pod_network.parse_nodes(nodes)) is not None:
                return found
            if time.monotonic() > deadline:
                raise NodeError("pod network", "the control plane assigns no pod addresses")
            time.sleep(_POLL_SECONDS)

    def _write(self, node: str, file: str, text: str, mode: str) -> None:
        command = f"cat > {file}.new && chmod {mode} {file}.new && mv {file}.new {file}"
        self._cluster.execute(
            node, "sh", "-c", f"mkdir -p $(dirname {file}) && {command}", stdin=text
        )


def storage_class_on(node: str, classes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the default StorageClass with all volumes on one node.

    Raises:
        NodeError: None is the default.
    """
    for each in classes:
        metadata = each["metadata"]
        annotations = metadata.get("annotations", {})
        if annotations.get(_DEFAULT_CLASS) == "true":
            term = {"key": "kubernetes.io/hostname", "values": [node]}
            return {
                **each,
                "metadata": {"name": metadata["name"], "annotations": annotations},
                "allowedTopologies": [{"matchLabelExpressions": [term]}],
            }
    raise NodeError("volumes", "the cluster has no default StorageClass")
