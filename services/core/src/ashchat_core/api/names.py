"""Group, version and kind of the resource; labels, annotations and the finalizer."""

from enum import StrEnum
from typing import Final

GROUP: Final = "ashchat.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "AshChat"
PLURAL: Final = "ashchats"

PRODUCT: Final = "ashchat"
"""The value of the labels `name` and `part-of` on everything that belongs to an AshChat."""

OPERATOR: Final = "ashchat-operator"
"""The operator's name: its field manager, the value of the label `managed-by` on everything that
it applies, and of the label `name` on its own pods."""

FINALIZER: Final = f"{GROUP}/cleanup"
"""On an AshChat whose deletion only the operator can finish (deletionPolicy Delete)."""


class Label(StrEnum):
    """Keys of labels.

    The first five are recommended by Kubernetes
    (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
    """

    NAME = "app.kubernetes.io/name"
    INSTANCE = "app.kubernetes.io/instance"
    """The name of the AshChat that an object belongs to."""
    COMPONENT = "app.kubernetes.io/component"
    PART_OF = "app.kubernetes.io/part-of"
    MANAGED_BY = "app.kubernetes.io/managed-by"
    WATCH = f"{GROUP}/watch"
    """On a Secret that an AshChat refers to: with "true" an edit is seen at once, without it at
    the next resync."""


class Annotation(StrEnum):
    """Keys of annotations."""

    ALLOW_SWITCH = f"{GROUP}/allow-switch"
    """On an AshChat: backends and what they may become, for example "mongodb:External"."""
    PAUSE = f"{GROUP}/pause"
    """On an AshChat: with "true" the operator changes nothing but the status."""
    RESTART = f"{GROUP}/restart"
    """On an AshChat with `-<component>` appended: a new value restarts that component once. On a
    pod template: the value for which it was last restarted."""
    ROTATE = f"{GROUP}/rotate"
    """On an AshChat: a new value rotates all credentials; with `-<name>` appended, one kind."""
    KEY_RING = f"{GROUP}/key-ring"
    """On MongoDB's volume claim: the fingerprints of the keys that its data was sealed with."""
    CREDENTIALS_WANTED = f"{GROUP}/credentials-wanted"
    """On a pod: changed to make the kubelet read its Secrets again at once."""
    ADMIN_REVISION = f"{GROUP}/admin-revision"
    """On pods of a backend: a digest of the administrator's password, read at the start."""
    CONFIG_REVISION = f"{GROUP}/config-revision"
    """On pods of a backend: a digest of the files that are read at the start."""
    REDIS_SERVER = f"{GROUP}/redis-server"
    """On pods that use an external Redis: a digest of its address and prefix."""
    SCHEMA_REVISION = f"{GROUP}/schema-revision"
    """On the CustomResourceDefinition: the revision of its schema."""


def restart_annotation(component: str) -> str:
    """Return the annotation that restarts a component of an AshChat."""
    return f"{Annotation.RESTART}-{component}"


def rotate_annotation(credential: str) -> str:
    """Return the annotation that rotates one kind of credential of an AshChat."""
    return f"{Annotation.ROTATE}-{credential}"
