"""The conditions in the status of an AshChat, with the meaning of each type and reason.

docs/reference/conditions.md is generated from this module (`ashchat_dev.conditions_page`).
Conditions follow the API conventions
(https://github.com/kubernetes/community/blob/main/contributors/devel/sig-architecture/api-conventions.md).
"""

from enum import StrEnum
from typing import NamedTuple, Self


class ConditionStatus(StrEnum):
    """The status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Finding(NamedTuple):
    """What a condition reports: everything but its type and its times."""

    status: ConditionStatus
    reason: str
    message: str = ""


class ConditionType(StrEnum):
    """The type of a condition."""

    meaning: str
    """What it means that the condition is True."""

    def __new__(cls, value: str, meaning: str) -> Self:
        """Return a member with its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """Return the type of this name; None for one of another version of the operator."""
        return next((member for member in cls if member == value), None)

    READY = (
        "Ready",
        (
            "Every component is ready, and users, queues and permissions were read back from the "
            "backends."
        ),
    )
    PROGRESSING = ("Progressing", "Components are starting, rolling out or being repaired.")
    DEGRADED = (
        "Degraded",
        "The current generation of the spec cannot be applied; the message says what to do.",
    )
    BACKENDS_READY = ("BackendsReady", "RabbitMQ, both Redis instances and MongoDB are ready.")
    TOPOLOGY_READY = (
        "TopologyReady",
        (
            "Queues, users and permissions at the backends are as declared, as read back from the "
            "running servers."
        ),
    )
    PAUSED = ("Paused", "The annotation ashchat.dev/pause stops all changes but the status.")
    COMMANDS_HANDLED = (
        "CommandsHandled",
        "Every restart that an annotation requests has been carried out.",
    )
    SCHEMA_CURRENT = (
        "SchemaCurrent",
        "The CustomResourceDefinition is not older than the operator.",
    )
    SECRETS_ROTATED = (
        "SecretsRotated",
        "No rotation is under way: one credential of each kind is in use, and no other works.",
    )
    CREDENTIALS_ACCEPTED = (
        "CredentialsAccepted",
        (
            "The user-provided credentials (mail server, Google) were tried and work. Absent if "
            "the spec names none."
        ),
    )
    CERTIFICATE_READY = (
        "CertificateReady",
        "The certificate of exposure.edge.tls is valid and served. Absent without it.",
    )
