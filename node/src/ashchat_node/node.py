"""The node as a whole: from a bare machine to a Ready Kubernetes, and back.

The steps of `up` in order: inspect the machine, install packages, build the programs (and the
Debian base concurrently), start the network and containerd, load the images, `kubeadm init`,
volumes, wait. Every step detects what exists, so an interrupted `up` continues, and after a crash
`up` starts only what has died.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ashchat_node import (
    footprint,
    images,
    kubeadm,
    kubelet,
    machine,
    metrics,
    mounts,
    network,
    packages,
    rootfs,
    volumes,
)
from ashchat_node.buildah import Builder
from ashchat_node.cluster_api import ClusterApi
from ashchat_node.commands import succeeds
from ashchat_node.containerd import Containerd
from ashchat_node.errors import NodeError
from ashchat_node.footprint import Footprint
from ashchat_node.gotools import GoTools
from ashchat_node.kubeadm import Kubeadm
from ashchat_node.locking import locked
from ashchat_node.machine import Machine
from ashchat_node.node_images import content, node_images, provisioner_image
from ashchat_node.paths import Paths, default_paths
from ashchat_node.progress import Progress
from ashchat_node.record import Record, State, Status

CORE_TOOLS: Final = ("kubernetes", "containerd", "etcd", "coredns", "local-path-provisioner")
"""Tools of every node; the others are built on request."""


class Node:
    """The machine's node, shared by all clones of the repository."""

    def __init__(self, paths: Paths | None = None) -> None:
        """Use these folders, by default the machine's."""
        self._paths = paths or default_paths()
        self._record_file = self._paths.owner
        self.tools = GoTools(self._paths.cache, log=self._paths.log)
        self.builder = Builder(self._paths.cache, log=self._paths.log, run=self._paths.run)

    def up(self, progress: Progress) -> Status:
        """Bring the node to Ready from any state.

        Raises:
            NodeError: The machine cannot run a node, or a step failed.
        """
        record = Record.read(self._record_file)
        if record and self._healthy(record):
            return self.status()
        with locked(progress):
            record = Record.read(self._record_file)
            if record and self._healthy(record):
                return self.status()
            here = self._look(record, progress)
            if record and not self._resumable(record):
                with progress.step("undo the interrupted start"):
                    self._remove(record)
                record = None
            if record is None:
                record = self._make(here, progress)
            self._start(here, record, progress)
            self._api(record).wait_until_ready(progress)
        return self.status()

    def down(self, progress: Progress) -> None:
        """Remove the cluster and restore the machine; tools and images stay cached.

        Raises:
            NodeError: A part of it cannot be removed.
        """
        if (record := Record.read(self._record_file)) is None:
            self.builder.release()
            return
        with locked(progress), progress.step("remove the node"):
            self._remove(record)

    def clean(self, progress: Progress) -> None:
        """Remove the cluster and every cache.

        Raises:
            NodeError: A part of it cannot be removed.
        """
        self.down(progress)
        with progress.step("remove the caches"):
            mounts.remove_tree(self._paths.cache)
            mounts.remove_tree(self._paths.log)

    def status(self) -> Status:
        """Return the state of the node."""
        record = Record.read(self._record_file)
        if record is None:
            return Status("absent", "", self._paths.kubeconfig)
        state: State = "unfinished"
        if record.initialised:
            state = "running" if self._healthy(record) else "stopped"
        return Status(
            state, record.versions.kubernetes, self._paths.kubeconfig, self._outdated(record)
        )

    def tidy(self, progress: Progress) -> bool:
        """Remove Go's caches once every tool is built.

        Returns:
            Whether they were removed.
        """
        record = Record.read(self._record_file)
        keep = {path.parent for path in record.programs.values()} if record else set()
        with progress.step("tidy the Go caches"):
            return self.tools.tidy(keep)

    def images(self) -> frozenset[str]:
        """Return the names of the images that pods can use.

        Raises:
            NodeError: The node is not there or does not answer.
        """
        return self._containerd().images()

    def import_images(self, names: Sequence[str], builder: Builder, progress: Progress) -> None:
        """Import images from a builder unless the node has those names and tags.

        Args:
            names: Names and tags, which are hashes of the images' inputs.
            builder: The builder that has them.
            progress: Receives the steps.

        Raises:
            NodeError: There is no node or no such image.
        """
        containerd = self._containerd()
        present = containerd.images()
        if missing := [name for name in names if name not in present]:
            with (
                progress.step(images.described("load", missing)) as step,
                builder.export_all(missing, step) as archive,
            ):
                containerd.import_archive(archive, "images", step)

    def metrics(self, progress: Progress) -> None:
        """Add metrics-server, which autoscalers need.

        Raises:
            NodeError: There is no node, or it does not start.
        """
        record = Record.read(self._record_file)
        if record is None:
            raise NodeError("metrics-server", "there is no node", what_to_do="Run `up` first.")
        program = self.tools.build(metrics.NAME, progress)[metrics.NAME]
        image = f"{kubeadm.IMAGE_REPOSITORY}/{metrics.NAME}:{content(program)}"
        containerd = self._containerd()
        with progress.step("metrics-server") as step:
            if image not in containerd.images():
                wanted = [images.static_program(image, program)]
                with images.archive_of(wanted, self._paths.cache / "exports") as archive:
                    containerd.import_archive(archive, metrics.NAME, step)
            certificate = metrics.KUBELET_CERTIFICATE.read_text()
            own = metrics.Kubelet(kubelet.NODE_NAME, network.NODE_ADDRESS, certificate)
            self._api(record).apply(metrics.objects(image, [own]))
            self._api(record).rollout(metrics.NAMESPACE, f"deployment/{metrics.NAME}")

    def measures(self) -> bool:
        """Return whether the current metrics-server is installed."""
        record = Record.read(self._record_file)
        if record is None or (built := self.tools.built(metrics.NAME)) is None:
            return False
        image = f"{kubeadm.IMAGE_REPOSITORY}/{metrics.NAME}:{content(built[metrics.NAME])}"
        try:
            found = self._api(record).kubectl(
                "get", f"deployment/{metrics.NAME}", f"--namespace={metrics.NAMESPACE}",
                "--output=jsonpath={.spec.template.spec.containers[0].image}",
            )  # fmt: skip
        except NodeError:
            return False
        return found == image

    # The steps of `up`, in order.

    def _look(self, record: Record | None, progress: Progress) -> Machine:
        with progress.step("inspect the machine") as step:
            here = machine.detect(self._paths, ours=self._process_ids(record))
            building = any(self.tools.built(name) is None for name in CORE_TOOLS)
            if refusals := here.refusals(building=building):
                raise NodeError(
                    "look at the machine",
                    "no node can be started here",
                    "\n".join(refusals),
                    "Fix what is listed, or use another cluster.",
                )
            step.detail("; ".join(here.adaptations()))
        return here

    def _make(self, here: Machine, progress: Progress) -> Record:
        """Prepare everything a new cluster needs, and initialise it."""
        programs, base = self._programs_and_base(progress)
        record = Record(
            programs=programs,
            versions=kubeadm.Versions(
                kubernetes=self.tools.version("kubernetes"),
                etcd=self.tools.version("etcd"),
                coredns=self.tools.version("coredns"),
            ),
            footprint=Footprint.take(),
            initialised=False,
        )
        record.write(self._record_file)
        control_plane = Kubeadm(programs["kubeadm"], self._paths)
        control_plane.write_configuration(kubeadm.configuration(here, self._paths, record.versions))
        names = control_plane.images()
        with progress.step("network and containerd"):
            self._start_network()
            containerd = Containerd(self._paths, programs)
            containerd.start(here, names["pause"])
        self._load_images(containerd, programs, base, names, progress)
        with progress.step("kubeadm init") as step:
            kubelet.daemon(programs["kubelet"]).start(self._paths)
            control_plane.init(step)
            shutil.copyfile(kubeadm.ADMIN_KUBECONFIG, self._paths.kubeconfig)
            self._paths.kubeconfig.chmod(0o600)
        with progress.step("DNS and volumes") as step:
            # No pod reaches the API server before kube-proxy has written its rules.
            step.detail("kube-proxy")
            self._api(record).rollout("kube-system", "daemonset/kube-proxy")
            control_plane.add_dns()
            self._apply_volumes(record, names["kube-proxy"])
        finished = Record(programs, record.versions, record.footprint, initialised=True)
        finished.write(self._record_file)
        return finished

    def _programs_and_base(self, progress: Progress) -> tuple[dict[str, Path], Path]:
        """Build the programs; fetch packages, modules and the base concurrently."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            base: Future[Path] = pool.submit(self._packages_and_base, progress)
            fetched = pool.submit(self.tools.prefetch, CORE_TOOLS[1:], progress)
            programs: dict[str, Path] = {}
            for name in CORE_TOOLS:
                programs |= self.tools.build(name, progress)
                if base.done():
                    base.result()  # its failure ends the run now, not minutes later
            fetched.result()
            return programs, base.result()

    def _packages_and_base(self, progress: Progress) -> Path:
        packages.install(packages.NODE_PACKAGES, progress, self._paths)
        return rootfs.debootstrap(
            rootfs.BASE_SUITE, rootfs.BASE_PACKAGES, progress, paths=self._paths
        )

    def _start_network(self) -> None:
        for module in ("overlay", "br_netfilter"):
            succeeds(["modprobe", module])  # built in, or not there, on many kernels
        network.write_sysctls(network.SYSCTLS)
        network.create_bridge()

    def _load_images(
        self,
        containerd: Containerd,
        programs: Mapping[str, Path],
        base: Path,
        names: Mapping[str, str],
        progress: Progress,
    ) -> None:
        """Load the control plane's images unless exactly these exist."""
        wanted = node_images(programs, base, names)
        described = json.dumps([repr(image) for image in wanted])
        source = hashlib.sha256(described.encode()).hexdigest()
        ledger = self._paths.cache / "containerd" / "node-images"
        present = containerd.images()
        if (
            ledger.exists()
            and ledger.read_text() == source
            and all(image.name in present for image in wanted)
        ):
            return
        with (
            progress.step("load the control plane's images") as step,
            images.archive_of(wanted, self._paths.cache / "exports") as archive,
        ):
            containerd.import_archive(archive, "node", step)
            ledger.write_text(source)

    def _apply_volumes(self, record: Record, helper_image: str) -> None:
        objects = volumes.objects(
            provisioner_image(record.programs), helper_image, self._paths.state / "volumes"
        )
        self._api(record).apply(objects)

    def _start(self, here: Machine, record: Record, progress: Progress) -> None:
        """Start what is not running; after `_make` everything is."""
        with progress.step("start") as step:
            resumed = kubelet.daemon(record.programs["kubelet"]).child(self._paths) is None
            self._start_network()
            containerd = Containerd(self._paths, record.programs)
            pause = Kubeadm(record.programs["kubeadm"], self._paths).images()["pause"]
            containerd.start(here, pause)
            kubelet.daemon(record.programs["kubelet"]).start(self._paths)
            self._api(record).wait_until_up(step)
            if resumed:
                self._api(record).wait_until_reported(containerd, step)

    # Removal.

    def _remove(self, record: Record) -> None:
        kubelet_daemon = kubelet.daemon(record.programs["kubelet"])
        kubelet_daemon.stop(self._paths)
        if all(path.exists() for path in record.programs.values()):
            self._remove_pods(record)
        else:
            # Without its programs, containers cannot be distinguished from images: remove both.
            footprint.end_pod_processes()
            mounts.remove_tree(self._paths.cache / "containerd")
        footprint.end_pod_processes()
        footprint.remove_pod_cgroups()
        network.delete_bridge()
        network.remove_rules()
        self.builder.release()
        mounts.release_below(kubelet.ROOT)
        record.footprint.restore()
        # Otherwise the kubelet would continue these restart counts for the next cluster's pods.
        mounts.remove_tree(self._paths.log / "pods")
        mounts.remove_tree(self._paths.run)
        mounts.remove_tree(self._paths.state)  # the record last: until then it is ours

    def _remove_pods(self, record: Record) -> None:
        containerd = Containerd(self._paths, record.programs)
        if (self._paths.state / "containerd.toml").exists():
            containerd.restart()
            if kubelet.ROOT.exists() or kubeadm.ADMIN_KUBECONFIG.exists():
                Kubeadm(record.programs["kubeadm"], self._paths).reset()
            containerd.remove_containers()
        containerd.stop()

    # Queries.

    def _healthy(self, record: Record) -> bool:
        """Return whether both supervisors and programs are running and the node is Ready."""
        if not record.initialised or not all(
            daemon.supervisor(self._paths) and daemon.child(self._paths)
            for daemon in (
                Containerd(self._paths, record.programs).daemon,
                kubelet.daemon(record.programs["kubelet"]),
            )
        ):
            return False
        try:
            ready = self._api(record).kubectl(
                "get", "node", kubelet.NODE_NAME, "--request-timeout=3s",
                '--output=jsonpath={.status.conditions[?(@.type=="Ready")].status}',
            )  # fmt: skip
        except NodeError:
            return False
        return ready == "True"

    def _resumable(self, record: Record) -> bool:
        return record.initialised and all(path.exists() for path in record.programs.values())

    def _outdated(self, record: Record) -> bool:
        return any(
            self.tools.folder(name) not in {program.parent for program in record.programs.values()}
            for name in CORE_TOOLS
        )

    def _api(self, record: Record) -> ClusterApi:
        return ClusterApi(self._paths, record.programs["kubectl"])

    def _containerd(self) -> Containerd:
        record = Record.read(self._record_file)
        if record is None:
            raise NodeError("images", "there is no node", what_to_do="Run `up` first.")
        return Containerd(self._paths, record.programs)

    def _process_ids(self, record: Record | None) -> frozenset[int]:
        if record is None:
            return frozenset()
        daemons = (
            Containerd(self._paths, record.programs).daemon,
            kubelet.daemon(record.programs["kubelet"]),
        )
        found = [each.child(self._paths) for each in daemons]
        found += [each.supervisor(self._paths) for each in daemons]
        return frozenset(identity.pid for identity in found if identity)
