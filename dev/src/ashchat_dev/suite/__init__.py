"""What the cluster suite and the demo look into the cluster with."""

from ashchat_dev.suite.audit import AuditLog
from ashchat_dev.suite.cluster import ApiError, Cluster, CommandFailed
from ashchat_dev.suite.history import History, Violations
from ashchat_dev.suite.metrics import Metrics
from ashchat_dev.suite.people import PersonFactory
from ashchat_dev.suite.waiting import until

__all__ = [
    "ApiError",
    "AuditLog",
    "Cluster",
    "CommandFailed",
    "History",
    "Metrics",
    "PersonFactory",
    "Violations",
    "until",
]
