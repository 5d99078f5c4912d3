"""The proof that every pod uses a credential, and a nudge for those that do not know it yet."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ashchat_core.api.names import OPERATOR, Annotation, Label
from ashchat_operator.credentials.pod_reports import PodReporter, relevant, unaware
from ashchat_operator.credentials.pod_reports import lacking as lacking_by
from ashchat_operator.kube.api import Api, ApiServerError
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import selector

Wanted = Mapping[str, Mapping[str, str]]
"""Component → credential → revision."""

NUDGE_SECONDS: Final = 15
"""A pod that knows nothing of what is wanted is nudged again after this time."""

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
    """Say which pods a change waits for; empty where it waits for none."""
    if not names:
        return ""
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return f"waits for {', '.join(names[:_NAMES_MAX])}{more} to change over"


async def _nudge(
    api: Api, pod: Mapping[str, Any], wanted: Mapping[str, str], now: datetime
) -> None:
    """Change a pod's annotation: the kubelet then reads its Secrets again at once.

    By itself it does so within a minute or so
    (https://kubernetes.io/docs/tasks/configure-pod-container/configure-pod-configmap/#mounted-configmaps-are-updated-automatically).
    """
    words = [*sorted(wanted.items()), int(now.timestamp() // NUDGE_SECONDS)]
    stamp = hashlib.sha256(repr(words).encode()).hexdigest()[:12]
    metadata = pod["metadata"]
    if metadata.get("annotations", {}).get(Annotation.CREDENTIALS_WANTED) == stamp:
        return
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        # With the uid: a pod that is gone is not made anew.
        "metadata": {
            **{key: metadata[key] for key in ("name", "namespace", "uid")},
            "annotations": {Annotation.CREDENTIALS_WANTED.value: stamp},
        },
    }
    try:
        await api.apply(body, OPERATOR)
    except ApiServerError:
        return  # It is gone, or we may not: the kubelet comes by itself.
