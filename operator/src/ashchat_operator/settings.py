"""Settings of the operator, from the environment (prefix ASHCHAT_OPERATOR_)."""

from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PRIVATE_NETWORKS: Final = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
"""The networks in which nearly every cluster has its pods (RFC 1918, RFC 4193)."""

NAMES: Final = r"^( *[a-z0-9-]+ *(, *[a-z0-9-]+ *)*,?)? *$"
"""A comma-separated list of namespaces (RFC 1123 labels). kopf also accepts patterns such as
`team-*`, but neither the Roles nor the operator's watches support them."""


class Settings(BaseSettings):
    """The settings that the chart passes to the operator."""

    model_config = SettingsConfigDict(env_prefix="ASHCHAT_OPERATOR_", frozen=True)

    images_file: Path = Field(
        Path("/etc/ashchat-operator/images.yaml"), description="Which image is which component."
    )
    watch_namespaces: str = Field(
        "",
        pattern=NAMES,
        description="Namespaces to manage (comma-separated); empty: all.",
    )
    exclude_namespaces: str = Field(
        "",
        pattern=NAMES,
        description="Namespaces that another operator manages (comma-separated).",
    )
    lease: str = Field(
        "",
        pattern=r"^([^/]+/[^/]+)?$",
        description="Namespace/name of the Lease whose holder works, while other pods stand by;"
        " empty: this process is alone.",
    )
    pod_name: str = Field("", description="This pod's name: the holder in the Lease.")
    pod_cidrs: str = Field(
        PRIVATE_NETWORKS,
        description="Networks of the pods (CIDR, comma-separated). X-Forwarded-For is trusted"
        " only from there.",
    )
    cluster_domain: str = Field("cluster.local", description="The cluster's DNS domain.")
    namespace: str = Field(
        "ashchat-system",
        description="The operator's namespace: NetworkPolicies allow connections from there.",
    )
    resync_seconds: float = Field(
        20.0, gt=0, description="Seconds between reconcile passes of a settled resource."
    )
    progress_seconds: float = Field(
        1.0, gt=0, description="Seconds between reconcile passes of a resource in progress."
    )
    watch_silence_seconds: float = Field(
        70.0,
        gt=0,
        description="Seconds without an event after which a watch is reopened. The API server"
        " sends a bookmark about every minute.",
    )
    parallel_reconciles: int = Field(8, gt=0, description="Maximum concurrent reconcile passes.")
    private_port: int = Field(9000, description="Port of /livez, /readyz and /metrics.")
    log_level: str = Field("INFO", description="The least severe level that is logged.")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces to manage; empty means all."""
        return _names(self.watch_namespaces)

    @property
    def excluded(self) -> frozenset[str]:
        """Return the namespaces that another operator manages."""
        return frozenset(_names(self.exclude_namespaces))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
