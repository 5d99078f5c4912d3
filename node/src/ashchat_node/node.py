"""The node as a whole: from a bare machine to a Ready Kubernetes, and back.

The steps of `up` in order: inspect the machine, install packages, build the programs (and the
Debian base concurrently), start the network and containerd, load the images, `kubeadm init`,
volumes, wait. Every step detects what exists, so an interrupted `up` continues, and after a crash
`up` starts only what has died.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

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
from ashchat_node.commands import capture, succeeds
from ashchat_node.containerd import Containerd
from ashchat_node.errors import NodeError, tail
from ashchat_node.footprint import Footprint
from ashchat_node.gotools import GoTools
from ashchat_node.kubeadm import Kubeadm
from ashchat_node.machine import Machine
from ashchat_node.paths import Paths, default_paths
from ashchat_node.progress import Progress, Step

CORE_TOOLS: Final = ("kubernetes", "containerd", "etcd", "coredns", "local-path-provisioner")
"""Tools of every node; the others are built on request."""

_API_SECONDS: Final = 180.0
_READY_SECONDS: Final = 180
_POLL_SECONDS: Final = 0.2
_PAUSE_PROGRAM: Final = "/usr/bin/catatonit"
_LOCK: Final = Path("/run/ashchat-node.lock")

State = Literal["absent", "running", "stopped", "unfinished"]


@dataclass(frozen=True)
class Record:
    """Describes a node that was begun; its presence marks the machine as ours.

    Attributes:
        programs: The programs of the node, which it uses until `down`.
        versions: Their versions.
        footprint: The machine before the node.
        initialised: Whether `kubeadm init` succeeded.
    """

    programs: Mapping[str, Path]
    versions: kubeadm.Versions
    footprint: Footprint
    initialised: bool

    def write(self, file: Path) -> None:
        """Write the record atomically."""
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(
            json.dumps(
                {
                    "programs": {name: str(path) for name, path in self.programs.items()},
                    "versions": vars(self.versions),
                    "footprint": vars(self.footprint),
                    "initialised": self.initialised,
                },
                indent=2,
            )
        )
        unfinished.rename(file)

    @classmethod
    def read(cls, file: Path) -> "Record | None":
        """Return the record of the existing node, if any."""
        try:
            value = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        return cls(
            programs={name: Path(path) for name, path in value["programs"].items()},
            versions=kubeadm.Versions(**value["versions"]),
            footprint=Footprint.parse(value["footprint"]),
            initialised=value["initialised"],
        )


@dataclass(frozen=True)
class Status:
    """The state of the node.

    Attributes:
        state: absent; running (responds and is Ready); stopped (its processes died, `up`
            resumes it); unfinished (`up` was interrupted and will re-create it).
        kubernetes: Its version, empty when absent.
        kubeconfig: The administrator's kubeconfig.
        outdated: Whether this package would build other programs than it runs.
    """

    state: State
    kubernetes: str
    kubeconfig: Path
    outdated: bool = False


class Node:
    """The machine's node, shared by all clones of the repository."""

    def __init__(self, paths: Paths | None = None) -> None:
        """Use these folders, by default the machine's."""
        self._paths = paths or default_paths()
        self._record_file = self._paths.state / "owner"
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
        with self._locked(progress):
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
            self._wait_ready(record, progress)
        return self.status()

    def down(self, progress: Progress) -> None:
        """Remove the cluster and restore the machine; tools and images stay cached.

        Raises:
            NodeError: A part of it cannot be removed.
        """
        if (record := Record.read(self._record_file)) is None:
            self.builder.release()
            return
        with self._locked(progress), progress.step("remove the node"):
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

    def import_image(self, name: str, builder: Builder, progress: Progress) -> bool:
        """Import an image from a builder unless the node has that name and tag.

        Args:
            name: Name and tag, a hash of the image's inputs.
            builder: The builder that has it.
            progress: Receives the steps.

        Returns:
            Whether it was imported now.

        Raises:
            NodeError: There is no node or no such image.
        """
        containerd = self._containerd()
        if name in containerd.images():
            return False
        short = name.rsplit("/", 1)[-1].split(":", 1)[0]
        with progress.step(f"load {short}") as step, builder.export(name, step) as archive:
            containerd.import_archive(archive, short, step)
        return True

    def metrics(self, progress: Progress) -> None:
        """Add metrics-server, which autoscalers need.

        Raises:
            NodeError: There is no node, or it does not start.
        """
        record = Record.read(self._record_file)
        if record is None:
            raise NodeError("metrics-server", "there is no node", what_to_do="Run `up` first.")
        program = self.tools.build(metrics.NAME, progress)[metrics.NAME]
        image = f"{kubeadm.IMAGE_REPOSITORY}/{metrics.NAME}:{_content(program)}"
        containerd = self._containerd()
        with progress.step("metrics-server") as step:
            if image not in containerd.images():
                wanted = [images.static_program(image, program)]
                with images.archive_of(wanted, self._paths.cache / "exports") as archive:
                    containerd.import_archive(archive, metrics.NAME, step)
            objects = metrics.objects(image, metrics.KUBELET_CERTIFICATE.read_text())
            self._apply(record, objects)
            self._rollout(record, metrics.NAMESPACE, f"deployment/{metrics.NAME}")

    def measures(self) -> bool:
        """Return whether the current metrics-server is installed."""
        record = Record.read(self._record_file)
        if record is None or (built := self.tools.built(metrics.NAME)) is None:
            return False
        image = f"{kubeadm.IMAGE_REPOSITORY}/{metrics.NAME}:{_content(built[metrics.NAME])}"
        try:
            found = self._kubectl(
                record, "get", f"deployment/{metrics.NAME}", f"--namespace={metrics.NAMESPACE}",
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
                    "Mend what is listed, or use another cluster.",
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
            self._rollout(record, "kube-system", "daemonset/kube-proxy")
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
        wanted = _node_images(programs, base, names)
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
            _provisioner_image(record.programs), helper_image, self._paths.state / "volumes"
        )
        self._apply(record, objects)

    def _apply(self, record: Record, objects: list[dict[str, Any]]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self._kubectl(record, "apply", "--server-side", "--filename=-", stdin=json.dumps(listed))

    def _start(self, here: Machine, record: Record, progress: Progress) -> None:
        """Start what is not running; after `_make` everything is."""
        with progress.step("start") as step:
            resumed = kubelet.daemon(record.programs["kubelet"]).child(self._paths) is None
            self._start_network()
            containerd = Containerd(self._paths, record.programs)
            pause = Kubeadm(record.programs["kubeadm"], self._paths).images()["pause"]
            containerd.start(here, pause)
            kubelet.daemon(record.programs["kubelet"]).start(self._paths)
            self._wait_api(record, step)
            if resumed:
                self._wait_true_status(record, containerd, step)

    def _wait_api(self, record: Record, step: Step) -> None:
        deadline = time.monotonic() + _API_SECONDS
        step.detail("the API server")
        while not self._api_answers(record):
            if time.monotonic() > deadline:
                raise NodeError(
                    "start",
                    "the API server does not answer",
                    tail(self._paths.log / "kubelet.log"),
                    "Run `down`, then `up` for a new cluster.",
                )
            time.sleep(_POLL_SECONDS)

    def _wait_true_status(self, record: Record, containerd: Containerd, step: Step) -> None:
        """Wait until no pod reports a container that died in the crash.

        Until the kubelet has reported, the API server returns the state before the crash.
        """
        step.detail("the kubelet's reports")
        deadline = time.monotonic() + _API_SECONDS
        while True:
            with contextlib.suppress(NodeError):
                pods = json.loads(
                    self._kubectl(record, "get", "pods", "--all-namespaces", "-ojson")
                )
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

    def _wait_ready(self, record: Record, progress: Progress) -> None:
        with progress.step("wait for Ready") as step:
            step.detail("node")
            self._kubectl(
                record, "wait", "node", kubelet.NODE_NAME, "--for=condition=Ready",
                f"--timeout={_READY_SECONDS}s", seconds=_READY_SECONDS + 10,
            )  # fmt: skip
            for namespace, name, pods in (
                ("kube-system", "daemonset/kube-proxy", "k8s-app=kube-proxy"),
                ("kube-system", "deployment/coredns", "k8s-app=kube-dns"),
                (volumes.NAMESPACE, f"deployment/{volumes.NAME}", f"app={volumes.NAME}"),
            ):
                step.detail(name)
                self._rollout(record, namespace, name)
                # After a crash the rollout's status is older than that of the pods.
                self._kubectl(
                    record, "wait", "pod", f"--namespace={namespace}", f"--selector={pods}",
                    "--for=condition=Ready", f"--timeout={_READY_SECONDS}s",
                    seconds=_READY_SECONDS + 10,
                )  # fmt: skip

    def _rollout(self, record: Record, namespace: str, name: str) -> None:
        self._kubectl(
            record, "rollout", "status", f"--namespace={namespace}", name,
            f"--timeout={_READY_SECONDS}s", seconds=_READY_SECONDS + 10,
        )  # fmt: skip

    # Removal.

    def _remove(self, record: Record) -> None:
        kubelet_daemon = kubelet.daemon(record.programs["kubelet"])
        kubelet_daemon.stop(self._paths)
        if all(path.exists() for path in record.programs.values()):
            self._remove_pods(record)
        else:
            # Without its programs, containers cannot be told from images: remove both.
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
            ready = self._kubectl(
                record, "get", "node", kubelet.NODE_NAME, "--request-timeout=3s",
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

    def _api_answers(self, record: Record) -> bool:
        with contextlib.suppress(NodeError):
            return self._kubectl(record, "get", "--raw=/readyz", "--request-timeout=2s") == "ok"
        return False

    def _kubectl(
        self, record: Record, *arguments: str, stdin: str | None = None, seconds: float = 60
    ) -> str:
        return capture(
            f"kubectl {arguments[0]}",
            [record.programs["kubectl"], f"--kubeconfig={self._paths.kubeconfig}", *arguments],
            stdin=stdin,
            timeout_seconds=seconds,
        )

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

    @contextmanager
    def _locked(self, progress: Progress) -> Iterator[None]:
        """Allow one `up` or `down` at a time on the machine; the second waits."""
        _LOCK.parent.mkdir(parents=True, exist_ok=True)
        with _LOCK.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with progress.step("wait for another run on this machine"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def claimed_containers(pods: Mapping[str, Any]) -> frozenset[str]:
    """Return the ids of the containers that are running according to a PodList."""
    return frozenset(
        status["containerID"].rpartition("/")[2]
        for pod in pods["items"]
        for status in pod.get("status", {}).get("containerStatuses", ())
        if "running" in status.get("state", {})
    )


def _provisioner_image(programs: Mapping[str, Path]) -> str:
    """Return the provisioner's image, tagged with the hash in its program's folder name."""
    return f"{kubeadm.IMAGE_REPOSITORY}/{volumes.NAME}:{_content(programs[volumes.NAME])}"


def _content(program: Path) -> str:
    """Return the hash of a program's inputs from its folder's name."""
    return program.parent.name.rsplit("-", 1)[1]


def _node_images(
    programs: Mapping[str, Path], base: Path, names: Mapping[str, str]
) -> list[images.Image]:
    """Return the images of the control plane, as kubeadm names them, and of the volumes."""
    found: list[images.Image] = [
        images.static_program(names[name], programs[name])
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
    ]
    found += [
        images.static_program(names["coredns"], programs["coredns"], at="coredns"),
        images.Image(
            name=names["pause"],
            files={"pause": packages.file_of(_PAUSE_PROGRAM)},
            entrypoint=("/pause", "-P"),  # holds the namespaces, reaps, runs nothing
        ),
        images.Image(
            name=names["kube-proxy"],
            files={"usr/local/bin/kube-proxy": programs["kube-proxy"]},
            rootfs=base,  # it needs iptables and conntrack's modules' tools
        ),
        images.static_program(_provisioner_image(programs), programs[volumes.NAME]),
    ]
    return found
