"""AshChat on kind: Kubernetes in Docker, with the official images of the backends.

https://kind.sigs.k8s.io/docs/user/quick-start/
"""

import shutil
import subprocess
from functools import partial
from typing import Final

from ashchat_dev import docker
from ashchat_dev.graph import Task
from ashchat_dev.images import GOOGLE_TEST, OURS, ROOT, Image, Sources
from ashchat_dev.programs import CACHE, LOGS, program
from ashchat_dev.target import Engine, Programs
from ashchat_node.commands import capture, run_logged
from ashchat_node.progress import Progress

NAME: Final = "ashchat"
KUBECONFIG: Final = ROOT / ".ashchat" / "kind.kubeconfig"
CONFIG: Final = ROOT / "kind-config.yaml"
AUDIT_LOG_DIR: Final = ROOT / ".ashchat" / "audit"
"""kind-config.yaml mounts it into the API server's machine."""


class OnKind:
    """A dedicated kind cluster with a unique name."""

    engine: Engine = "MongoDB"

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def references(self) -> dict[str, str]:
        """Return what is built here; the chart knows the official images of the rest."""
        return {image.name: self.reference(image) for image in OURS}

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""
        return f"localhost/ashchat-{image.name}:{self._sources.tag(image, 'docker')}"

    def tasks(self, progress: Progress) -> list[Task]:
        """Return the tasks of the cluster and, concurrently, the images."""
        cluster = Task("cluster", "cluster", partial(self._up, progress))
        return [cluster, *self._image_tasks(OURS, progress, ("cluster",))]

    def later(self, progress: Progress) -> list[Task]:
        """Return the image of Google's server for tests."""
        return self._image_tasks((GOOGLE_TEST,), progress)

    def programs(self, progress: Progress) -> Programs:
        """Return kubectl and helm with kind's own kubeconfig."""
        return Programs(KUBECONFIG, program("kubectl", progress), program("helm", progress))

    def urls(self, programs: Programs) -> tuple[str, str]:  # noqa: ARG002 - the Protocol's name
        """Return what kind-config.yaml maps the node ports to."""
        return "http://127.0.0.1:30080", "http://127.0.0.1:30025"

    def environment(self) -> dict[str, str]:
        """Return where the API server's audit log and the test images are."""
        return {
            "AUDIT_LOG_DIR": str(AUDIT_LOG_DIR),
            "ASHCHAT_TEST_GOOGLE_IMAGE": self.reference(GOOGLE_TEST),
        }

    def down(self, progress: Progress) -> None:
        """Delete the cluster; Docker keeps the images."""
        with progress.step("remove the kind cluster"):
            kind = str(program("kind", progress))
            capture("kind", [kind, "delete", "cluster", f"--name={NAME}"])
            KUBECONFIG.unlink(missing_ok=True)

    def clean(self, progress: Progress) -> None:
        """Delete the cluster, our images and what was built."""
        self.down(progress)
        with progress.step("remove the images and caches"):
            listed = capture(
                "docker",
                ["docker", "image", "ls", "--quiet", "--filter=reference=localhost/ashchat-*"],
            )
            if ids := sorted(set(listed.split())):
                capture("docker", ["docker", "image", "rm", "--force", *ids])
            shutil.rmtree(CACHE, ignore_errors=True)

    def _up(self, progress: Progress) -> None:
        kind = program("kind", progress)
        if NAME not in capture("kind", [kind, "get", "clusters"]).split():
            # Docker would make the mount's folder itself, for root.
            AUDIT_LOG_DIR.mkdir(parents=True, exist_ok=True)
            with progress.step("kind cluster") as step:
                run_logged(
                    "kind cluster",
                    [kind, "create", "cluster", f"--name={NAME}", f"--config={CONFIG}",
                     f"--kubeconfig={KUBECONFIG}", "--wait=180s"],
                    log=LOGS / "kind.log",
                    step=step,
                    cwd=ROOT,
                    what_to_do="Look whether ports 30080 and 30025 of 127.0.0.1 are free.",
                )  # fmt: skip
        kubeconfig = capture("kind", [kind, "get", "kubeconfig", f"--name={NAME}"])
        KUBECONFIG.parent.mkdir(exist_ok=True)
        KUBECONFIG.touch(mode=0o600)
        KUBECONFIG.write_text(kubeconfig)

    def _image_tasks(
        self, images: tuple[Image, ...], progress: Progress, cluster: tuple[str, ...] = ()
    ) -> list[Task]:
        tasks: list[Task] = []
        for image in images:
            built = f"image {image.name}"
            build = partial(
                docker.build, self.reference(image), image, self._sources, progress, LOGS
            )
            load = partial(self._load, image, progress)
            tasks += [
                Task(built, "images", build),
                Task(f"load {image.name}", "load", load, (built, *cluster)),
            ]
        return tasks

    def _load(self, image: Image, progress: Progress) -> None:
        reference = self.reference(image)
        if self._has(reference):
            return
        with progress.step(f"load {image.name}") as step:
            run_logged(
                f"load {image.name}",
                [program("kind", progress), "load", "docker-image", f"--name={NAME}", reference],
                log=LOGS / f"load-{image.name}.log",
                step=step,
            )

    def _has(self, reference: str) -> bool:
        """Return whether the cluster's only machine has an image."""
        machine = f"{NAME}-control-plane"
        done = subprocess.run(
            ["docker", "exec", machine, "crictl", "inspecti", "--quiet", reference],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0
