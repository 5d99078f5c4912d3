"""Checks that every pod uses a credential, and nudges those that have not read it yet."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ashchat_core.api.names import OPERATOR, Annotation, Label
from ashchat_operator.credentials.pod_reports import PodReporter, relevant, unaware
from ashchat_operator.credentials.pod_reports import lacking as lacking_by
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.errors import ApiServerError
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import selector

Wanted = Mapping[str, Mapping[str, str]]
"""Component → credential → revision."""

NUDGE_SECONDS: Final = 15
"""Seconds after which a pod that has not read the credential is nudged again."""

_NAMES_MAX: Final = 5


async def lacking(api: Api, ash: AshChat, wanted: Wanted, now: datetime) -> tuple[str, ...]:
    """Return the names of the pods that are not known to use exactly what is wanted.

    Raises:
        ApiServerError: The pods cannot be listed.
    """
    labels = {k: v for k, v in selector(ash, "").items() if k != Label.COMPONENT}
    found = relevant(await api.list("Pod", ash.namespace, labels), now)
    pods = [pod for pod in found if pod["metadata"]["labels"].get(Label.COMPONENT) in wanted]
    async with PodReporter() as reporter:
        reports = await reporter.ask(pods)
    behind = unaware(reports, wanted)
    for pod in pods:
        if pod["metadata"]["name"] in behind:
            await _nudge(api, pod, wanted[pod["metadata"]["labels"][Label.COMPONENT]], now)
    return lacking_by(reports, wanted)


def waits_for(names: Sequence[str]) -> str:
    """Return which pods a change waits for, for messages; empty: none."""
    if not names:
        return ""
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return f"waiting for {', '.join(names[:_NAMES_MAX])}{more} to switch over"


async def _nudge(
    api: Api, pod: Mapping[str, Any], wanted: Mapping[str, str], now: datetime
) -> None:
    """Change an annotation of a pod, which makes the kubelet read its Secrets again immediately.

    Otherwise it does so within about a minute
    (https://kubernetes.io/docs/tasks/configure-pod-container/configure-pod-configmap/#mounted-configmaps-are-updated-automatically).
    """
    words = [*sorted(wanted.items()), int(now.timestamp() // NUDGE_SECONDS)]
    token = hashlib.sha256(repr(words).encode()).hexdigest()[:12]
    metadata = pod["metadata"]
    if metadata.get("annotations", {}).get(Annotation.CREDENTIALS_WANTED) == token:
        return
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        # With the uid, so that a deleted pod is not created again.
        "metadata": {
            **{key: metadata[key] for key in ("name", "namespace", "uid")},
            "annotations": {Annotation.CREDENTIALS_WANTED.value: token},
        },
    }
    try:
        await api.apply(body, OPERATOR)
    except ApiServerError:
        return  # It is deleted, or we lack permission: the kubelet reads the Secrets anyway.
