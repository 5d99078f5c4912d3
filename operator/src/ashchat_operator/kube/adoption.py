"""Decides which existing objects belong to this AshChat. Pure.

A new resource adopts what a deleted one of the same name left: claims and Secrets carry its labels.
An object that only has the name belongs to something else, and is never written to.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ashchat_core.api.names import OPERATOR, Annotation, Label
from ashchat_operator.kube.compare import applied_by_us
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import child
from ashchat_operator.resource.types import ObjectKey, ObjectView


def is_ours(ash: AshChat, body: ObjectView) -> bool:
    """Return whether an object with the name of one of ours is ours.

    It is if it has our labels or, in case they were removed, if the AshChat owns it or the operator
    applied it. A claim that a StatefulSet created has the labels only.
    """
    metadata = body["metadata"]
    labels = metadata.get("labels", {})
    if labels.get(Label.INSTANCE) == ash.name and labels.get(Label.MANAGED_BY) == OPERATOR:
        return True
    if any(owner["uid"] == ash.uid for owner in metadata.get("ownerReferences", [])):
        return True
    return any(applied_by_us(entry) for entry in metadata.get("managedFields", []))


def taken(kind: str, name: str) -> str:
    """Return the message about an object that has the name of one of ours and is not ours."""
    return (
        f"{kind} {name} exists and does not belong to this AshChat, so it is left as it is. Rename "
        f"or delete it; or, if it belongs to this AshChat and lost its labels, label it "
        f"{Label.INSTANCE}=<this AshChat's name> and {Label.MANAGED_BY}={OPERATOR}"
    )


def claims(body: ObjectView) -> frozenset[ObjectKey]:
    """Return the claims that a StatefulSet uses, and creates if they do not exist.

    Other kinds have none.
    """
    if body["kind"] != "StatefulSet":
        return frozenset()
    spec, name = body["spec"], body["metadata"]["name"]
    return frozenset(
        ("PersistentVolumeClaim", f"{template['metadata']['name']}-{name}-{number}")
        for template in spec.get("volumeClaimTemplates", [])
        for number in range(spec["replicas"])
    )


def data_claim(ash: AshChat) -> ObjectKey:
    """Return the claim of the data that keys of the ring have sealed."""
    return "PersistentVolumeClaim", f"data-{child(ash, 'mongodb')}-0"


def ring_of(claim: ObjectView | None) -> dict[str, str]:
    """Return the fingerprints recorded at a claim; empty if there is no valid record."""
    text = claim["metadata"].get("annotations", {}).get(Annotation.KEY_RING, "") if claim else ""
    try:
        read = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in read.items()} if isinstance(read, dict) else {}


def ring_annotation(fingerprints: Mapping[str, str]) -> str:
    """Return the annotation's text."""
    return json.dumps(dict(sorted(fingerprints.items())), separators=(",", ":"))


def missing_claims(desired: Sequence[ObjectView], live: Mapping[ObjectKey, Any]) -> list[ObjectKey]:
    """Return the claims of StatefulSets that are about to be created, which may exist already.

    The StatefulSet controller uses any claim of the right name, whatever it belongs to.
    """
    return [
        key
        for body in desired
        if (body["kind"], body["metadata"]["name"]) not in live
        for key in sorted(claims(body))
        if key not in live
    ]
