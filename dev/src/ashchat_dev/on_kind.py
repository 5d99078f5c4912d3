"""AshChat on kind: Kubernetes in Docker, with official images or with images from packages.

https://kind.sigs.k8s.io/docs/user/quick-start/
"""

import os
import shutil
from collections.abc import Mapping
from functools import partial
from typing import Final

import yaml

from ashchat_dev.graph import Task
from ashchat_dev.images import GOOGLE_TEST, ROOT, Sources
from ashchat_dev.kind import configuration, node_image
from ashchat_dev.kind.adaptations import Machine
from ashchat_dev.kind.cluster import KindCluster
from ashchat_dev.kind.inside import ClusterInside
from ashchat_dev.kind.memory import require_memory
from ashchat_dev.kind.settings import STEP, Settings, Way
from ashchat_dev.kind.supplies import PackagedSupplies, PulledSupplies, Supplies
from ashchat_dev.kind.way import Decision, decide, registry_answers
from ashchat_dev.programs import CACHE, LOGS
from ashchat_dev.target import EDGE_PORT, MAILBOX_PORT, Engine, Programs
from ashchat_node.commands import capture
from ashchat_node.errors import NodeError
from ashchat_node.node import Node
from ashchat_node.paths import default_paths
from ashchat_node.progress import Progress

STATE: Final = ROOT / ".ashchat" / "kind"
"""A folder for each cluster: its configuration, kubeconfig and audit log."""


class OnKind:
    """A dedicated kind cluster with a unique name."""

    def __init__(self, sources: Sources, environ: Mapping[str, str] = os.environ) -> None:
        """Decide where images come from.

        Raises:
            NodeError: A setting is not valid, or Docker does not answer.
        """
        self._settings = Settings.parse(environ)
        self._cluster = KindCluster(self._settings.name)
        state = STATE / self._settings.name
        self._config, self._kubeconfig = state / "config.yaml", state / "kubeconfig"
        self._audit_log_dir = state / "audit"
        self._inside = ClusterInside(self._cluster)
        self._decision = decide(
            self._settings.way, way_of(self._cluster.node_image()), registry_answers
        )
        self._machine = Machine.detect()
        self._supplies = supplies(self._decision, sources, self._cluster, self._machine)

    @property
    def engine(self) -> Engine:
        """The database engine that there are images for."""
        return self._supplies.engine

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return self._settings.nodes

    def described(self) -> str:
        """Return the kind of cluster, and where its images come from, in one line."""
        adapted = self._machine.described()
        return f"{self._decision}{f'; adapts to {adapted}' if adapted else ''}"

    def references(self) -> dict[str, str]:
        """Return image name → reference of what is built here."""
        return self._supplies.references()

    def tasks(self, progress: Progress) -> list[Task]:
        """Return the tasks of the cluster and, concurrently, the images."""
        present = self._cluster.images() if self._cluster.running() else None
        return self._supplies.tasks(partial(self._up, progress), present, progress)

    def later(self, progress: Progress) -> list[Task]:
        """Return the tasks of metrics-server, the test images, and tidying the disk."""
        return self._supplies.later(self._inside, self._cluster.images(), progress)

    def programs(self, progress: Progress) -> Programs:
        """Return kubectl and helm with kind's own kubeconfig."""
        return Programs(
            self._kubeconfig,
            self._supplies.program("kubectl", progress),
            self._supplies.program("helm", progress),
        )

    def urls(self, programs: Programs) -> tuple[str, str]:  # noqa: ARG002 - the Protocol's name
        """Return what the node ports are mapped to on this machine."""
        return (
            f"http://{self._cluster.address(EDGE_PORT)}",
            f"http://{self._cluster.address(MAILBOX_PORT)}",
        )

    def environment(self) -> dict[str, str]:
        """Return where the API server's audit log and the test images are."""
        return {
            "AUDIT_LOG_DIR": str(self._audit_log_dir),
            "ASHCHAT_TEST_GOOGLE_IMAGE": self._supplies.reference(GOOGLE_TEST),
        }

    def down(self, progress: Progress) -> None:
        """Delete the cluster; images stay."""
        with progress.step("remove the kind cluster"):
            if self._cluster.nodes():
                self._cluster.delete(self._supplies.program("kind", progress), self._kubeconfig)
            self._kubeconfig.unlink(missing_ok=True)

    def clean(self, progress: Progress) -> None:
        """Delete the cluster, our images in Docker, and the caches that no other node uses."""
        listed = capture(
            "docker", ["docker", "image", "ls", "--quiet", "--filter=reference=localhost/ashchat-*"]
        )
        self._cluster.delete(self._supplies.program("kind", progress), self._kubeconfig)
        with progress.step("remove the images and caches"):
            if ids := sorted(set(listed.split())):
                capture("docker", ["docker", "image", "rm", "--force", *ids])
            shutil.rmtree(CACHE, ignore_errors=True)
        self.down(progress)
        if self._decision.way == "build" and not _node_exists():
            Node().clean(progress)

    def _up(self, progress: Progress) -> None:
        """Create the cluster, or complete it: everything that exists stays."""
        with progress.step("kind cluster") as step:
            resumed = self._cluster.resume()
            if created := not self._cluster.exists():
                kind = self._supplies.program("kind", progress)
                self._cluster.delete(kind, self._kubeconfig)  # of an interrupted run
                self._check_ports()
                require_memory()
                self._configure()
                self._cluster.create(kind, self._config, self._kubeconfig, LOGS / "kind.log", step)
            elif (found := len(self._cluster.nodes())) != self._settings.nodes:
                raise NodeError(
                    STEP,
                    f"NODES={self._settings.nodes}, but the cluster has {found}",
                    what_to_do=f"Set NODES={found}, or run make down first.",
                )
            if created or resumed or not self._inside.ready():
                if self._supplies.node_image is not None:
                    self._inside.connect_pods(configuration.POD_SUBNET)
                self._inside.wait_until_ready(step)
            if created:
                if self.nodes > 1:
                    self._inside.place_volumes(self._cluster.volumes_node)
                self._cluster.completed()
        kubeconfig = self._cluster.kubeconfig(self._supplies.program("kind", progress))
        self._kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self._kubeconfig.touch(mode=0o600)
        self._kubeconfig.write_text(kubeconfig)

    def _configure(self) -> None:
        # Docker would create the mount's folder itself, for root.
        self._audit_log_dir.mkdir(parents=True, exist_ok=True)
        config = configuration.cluster(
            configuration.load(), self._settings, self._machine, self._supplies.node_image
        )
        configuration.mount_audit_log(config, self._audit_log_dir)
        if (archives := self._supplies.archives) is not None:
            archives.mkdir(parents=True, exist_ok=True)
            configuration.mount_archives(config, archives)
        self._config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def _check_ports(self) -> None:
        """Refuse ports that the node from packages uses: its rules would capture connections.

        Raises:
            NodeError: The node from packages uses the same ports.
        """
        if self._settings.port_offset == 0 and _node_exists():
            raise NodeError(
                STEP,
                "the node from packages uses the same ports of this machine",
                what_to_do="Set KIND_PORT_OFFSET=1000, or run make down CLUSTER=node first.",
            )


def way_of(image: str | None) -> Way | None:
    """Return the way of a cluster with this node image; None if there is no cluster."""
    if image is None:
        return None
    return "build" if image.startswith(f"{node_image.NAME}:") else "pull"


def supplies(
    decision: Decision, sources: Sources, cluster: KindCluster, machine: Machine
) -> Supplies:
    """Return where the images and programs of a cluster come from."""
    match decision.way:
        case "pull":
            return PulledSupplies(sources, cluster)
        case "build":
            return PackagedSupplies(sources, cluster, machine, default_paths())


def _node_exists() -> bool:
    return os.geteuid() == 0 and default_paths().owner.exists()
