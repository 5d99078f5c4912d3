"""What of what is there already is this AshChat's: the rules, without I/O.

A new resource of a name goes on with what a former one left: claims and Secrets bear its
labels. What bears the name only is somebody else's, and is never written to.
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
    """Tell whether an object with the name of one of ours is ours.

    Its labels say so, or, should they have been taken off, its owner, or that it was us who
    applied it. A claim made by a StatefulSet has the labels only.
    """
    metadata = body["metadata"]
    labels = metadata.get("labels", {})
    if labels.get(Label.INSTANCE) == ash.name and labels.get(Label.MANAGED_BY) == OPERATOR:
        return True
    if any(owner["uid"] == ash.uid for owner in metadata.get("ownerReferences", [])):
        return True
    return any(applied_by_us(entry) for entry in metadata.get("managedFields", []))


def taken(kind: str, name: str) -> str:
    """Return what to do about an object that has the name of one of ours and is not ours."""
    return (
        f"{kind} {name} is there and was not made for this AshChat, so it is left as it is. Rename "
        f"or delete it; or, if it is this AshChat's, restored without its labels, label it "
        f"{Label.INSTANCE}=<this AshChat's name> and {Label.MANAGED_BY}={OPERATOR}"
    )


def claims(body: ObjectView) -> frozenset[ObjectKey]:
    """Return by kind and name the claims that a StatefulSet takes, or makes where they are missing.

    Anything else has none.
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
    """Return the kind and name of the claim with what keys of the ring have sealed."""
    return "PersistentVolumeClaim", f"data-{child(ash, 'mongodb')}-0"


def ring_of(claim: ObjectView | None) -> dict[str, str]:
    """Return the fingerprints at a claim; none where there is no claim or nothing readable."""
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
    """Return by kind and name the claims of what is about to be made: these may be there.

    The StatefulSet controller takes a claim of the right name, whosever it is.
    """
    return [
        key
        for body in desired
        if (body["kind"], body["metadata"]["name"]) not in live
        for key in sorted(claims(body))
        if key not in live
    ]
