"""What the operator counts."""

from typing import Final

from prometheus_client import Counter, Gauge

RECONCILES: Final = Counter(
    "ashchat_operator_reconciles", "Looks at a resource that went to their end"
)
WRITES: Final = Counter(
    "ashchat_operator_writes", "Objects, statuses and things at backends that were written"
)
CERTIFICATE_EXPIRY: Final = Gauge(
    "ashchat_operator_certificate_expiry_timestamp_seconds",
    "When the certificate that the edge serves expires (Unix time)",
    ["namespace", "name"],
)
READY: Final = Gauge(
    "ashchat_operator_resource_ready", "1: the resource is Ready", ["namespace", "name"]
)
