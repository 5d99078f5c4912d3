"""AshChat on the cluster of the user's kubeconfig, when the user says CLUSTER=current."""

import json
import os
import subprocess
from collections.abc import Mapping
from functools import partial
from typing import Final

from ashchat_dev.graph import Task
from ashchat_dev.images import GOOGLE_TEST, ROOT
from ashchat_dev.programs import program
from ashchat_dev.registry_images import RegistryImages
from ashchat_dev.target import EDGE_PORT, MAILBOX_PORT, Engine, Programs
from ashchat_node.errors import NodeError
from ashchat_node.progress import Progress

KUBECONFIG: Final = ROOT / ".ashchat" / "current.kubeconfig"
"""A copy of the one context that was current: what the user switches to later stays out."""


class OnCurrent:
    """A cluster that is there already; images go by a registry that it can pull from."""

    nodes: int = 1

    def __init__(self, images: RegistryImages) -> None:
        """Use images in a registry that the cluster can pull from."""
        self._images = images

    @property
    def engine(self) -> Engine:
        """The database engine that there are images for."""
        return self._images.engine

    def described(self) -> str:
        """Return the kind of cluster, in one line."""
        return f"current context of kubectl, {self._images.described()}"

    def references(self) -> dict[str, str]:
        """Return image name → reference of all that is built here."""
        return self._images.references()

    def tasks(self, progress: Progress) -> list[Task]:
        """Return the look at the context, and the images."""
        look = Task("cluster", "cluster", partial(self._look, progress))
        return [look, *self._images.tasks(progress)]

    def later(self, progress: Progress) -> list[Task]:
        """Return the tasks of the images that only tests need."""
        return self._images.later(progress)

    def programs(self, progress: Progress) -> Programs:
        """Return kubectl and helm with the copy of the context."""
        return Programs(KUBECONFIG, program("kubectl", progress), program("helm", progress))

    def urls(self, programs: Programs) -> tuple[str, str]:
        """Return ASHCHAT_URL and MAILBOX_URL as the user set them, else a machine's node ports.

        Raises:
            NodeError: No machine of the cluster has an address.
        """
        nodes = json.loads(
            programs.run(programs.kubectl, "get", "nodes", "--output=json", step="addresses")
        )
        given = os.environ
        if "ASHCHAT_URL" in given and "MAILBOX_URL" in given:
            return given["ASHCHAT_URL"], given["MAILBOX_URL"]
        address = reachable(nodes)
        return f"http://{address}:{EDGE_PORT}", f"http://{address}:{MAILBOX_PORT}"

    def environment(self) -> dict[str, str]:
        """Return where the test images are; nobody reads the audit log of such a cluster."""
        return {"ASHCHAT_TEST_GOOGLE_IMAGE": self._images.reference(GOOGLE_TEST)}

    def down(self, progress: Progress) -> None:  # noqa: ARG002 - the Protocol's name
        """Leave the cluster as it is: what `up` put there is the user's to remove.

        Raises:
            NodeError: Always; it names the commands.
        """
        raise NodeError(
            "down",
            "make down does not touch a cluster that it did not make",
            what_to_do="kubectl delete namespace ashchat mailpit; "
            "helm uninstall ashchat-operator --namespace ashchat-system",
        )

    def clean(self, progress: Progress) -> None:
        """As `down`."""
        self.down(progress)

    def _look(self, progress: Progress) -> None:
        with progress.step("the current context") as step:
            kubectl = str(program("kubectl", progress))
            done = subprocess.run(
                [kubectl, "config", "view", "--minify", "--flatten", "--raw"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise NodeError(
                    "the current context", "kubectl has none", done.stderr.strip(),
                    "kubectl config use-context NAME, or leave CLUSTER away.",
                )  # fmt: skip
            KUBECONFIG.parent.mkdir(exist_ok=True)
            KUBECONFIG.touch(mode=0o600)
            KUBECONFIG.write_text(done.stdout)
            step.detail("answers")


def reachable(nodes: Mapping[str, list[dict[str, dict[str, list[dict[str, str]]]]]]) -> str:
    """Return an address of a machine in a NodeList, one for the outside where there is one.

    Raises:
        NodeError: No machine has an address.
    """
    found = {
        address["type"]: address["address"]
        for item in nodes["items"]
        for address in item["status"].get("addresses", [])
    }
    for kind in ("ExternalIP", "InternalIP"):
        if kind in found:
            return found[kind]
    raise NodeError(
        "addresses",
        "no machine of the cluster has an address",
        what_to_do="Set ASHCHAT_URL and MAILBOX_URL.",
    )
