"""The programs that are built from Go modules, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Tool:
    """How the programs of a module are built.

    Attributes:
        name: The folder with go.mod and go.sum.
        binaries: Its programs, by the names that `go build` uses.
        renamed: Better names for some of them.
        version_variables: Linker variables that get the module's version; without them
            kubeadm and the API server do not know theirs.
        module: The module whose version that is.
        tags: Build tags.
        source: The folder with go.mod and go.sum, where it is not named like the tool.
        packages: What is built of it: all that go.mod lists as tools, or single programs.
    """

    name: str
    binaries: tuple[str, ...]
    module: str
    renamed: Mapping[str, str] | None = None
    version_variables: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    source: str = ""
    packages: tuple[str, ...] = ("tool",)

    @property
    def folder(self) -> str:
        """The name of the folder with go.mod and go.sum."""
        return self.source or self.name


KUBERNETES: Final = Tool(
    name="kubernetes",
    binaries=(
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubeadm",
        "kubectl",
        "kubelet",
    ),
    module="k8s.io/kubernetes",
    version_variables=(
        "k8s.io/component-base/version.gitVersion",
        "k8s.io/client-go/pkg/version.gitVersion",
    ),
)
CONTAINERD: Final = Tool(
    name="containerd",
    binaries=("containerd", "containerd-shim-runc-v2", "ctr"),
    module="github.com/containerd/containerd/v2",
    version_variables=("github.com/containerd/containerd/v2/version.Version",),
    tags=("no_btrfs", "no_devmapper", "no_zfs"),
)
ETCD: Final = Tool(
    name="etcd",
    binaries=("server",),
    module="go.etcd.io/etcd/server/v3",
    renamed={"server": "etcd"},
)
COREDNS: Final = Tool("coredns", ("coredns",), "github.com/coredns/coredns")
HELM: Final = Tool("helm", ("helm",), "helm.sh/helm/v4")
LOCAL_PATH_PROVISIONER: Final = Tool(
    "local-path-provisioner",
    ("local-path-provisioner",),
    "github.com/rancher/local-path-provisioner",
    version_variables=("main.VERSION",),
)
METRICS_SERVER: Final = Tool(
    "metrics-server",
    ("metrics-server",),
    "sigs.k8s.io/metrics-server",
    version_variables=("k8s.io/client-go/pkg/version.gitVersion",),
)
FERRETDB: Final = Tool("ferretdb", ("ferretdb",), "github.com/FerretDB/FerretDB/v2")
CADDY: Final = Tool("caddy", ("caddy",), "github.com/caddyserver/caddy/v2")
MAILPIT: Final = Tool(
    "mailpit",
    ("mailpit",),
    "github.com/axllent/mailpit",
    version_variables=("github.com/axllent/mailpit/config.Version",),
)

ALL_TOOLS: Final[Mapping[str, Tool]] = {
    # In the order in which a node needs them.
    tool.name: tool
    for tool in (
        KUBERNETES,
        CONTAINERD,
        ETCD,
        COREDNS,
        LOCAL_PATH_PROVISIONER,
        HELM,
        FERRETDB,
        CADDY,
        MAILPIT,
        METRICS_SERVER,
    )
}

KIND: Final = Tool("kind", ("kind",), "sigs.k8s.io/kind")
KUBECTL: Final = Tool(
    name="kubectl",
    binaries=("kubectl",),
    module="k8s.io/kubernetes",
    version_variables=KUBERNETES.version_variables,
    source="kubernetes",
    packages=("k8s.io/kubernetes/cmd/kubectl",),
)

EXTRA_TOOLS: Final[Mapping[str, Tool]] = {tool.name: tool for tool in (KIND, KUBECTL)}
"""Tools that the node does not need: for other clusters, if the machine lacks them."""

KNOWN_TOOLS: Final[Mapping[str, Tool]] = {**ALL_TOOLS, **EXTRA_TOOLS}
"""All of them, by name."""
