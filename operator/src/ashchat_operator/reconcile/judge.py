"""Steps that determine the state of the components."""

from collections.abc import Sequence

from ashchat_core.api.names import Label
from ashchat_operator.kube.api import Api
from ashchat_operator.reconcile import external_secrets
from ashchat_operator.reconcile.declare import Results
from ashchat_operator.reconcile.observe import Observed
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import selector
from ashchat_operator.resource.types import Live, Object
from ashchat_operator.status import components as components_status
from ashchat_operator.status import exposure
from ashchat_operator.status.components import Component


async def components(api: Api, ash: AshChat, names: Sequence[str], live: Live) -> list[Component]:
    """Return the state of the components' pods; pods are read only if one is not ready.

    Raises:
        ApiServerError: The pods cannot be listed.
    """
    result = [components_status.component(ash, name, live, ()) for name in names]
    if all(item.ready for item in result):
        return result
    labels = {k: v for k, v in selector(ash, "").items() if k != Label.COMPONENT}
    pods: dict[str, list[Object]] = {}
    for pod in await api.list("Pod", ash.namespace, labels):
        pods.setdefault(pod["metadata"]["labels"].get(Label.COMPONENT, ""), []).append(pod)
    return [components_status.component(ash, name, live, pods.get(name, ())) for name in names]


def judge(
    ash: AshChat,
    found: Sequence[Component],
    results: Results,
    observed: Observed,
    *,
    lost: str,
    live: Live,
) -> list[Component]:
    """Return the components with everything that keeps them from being ready beyond their pods.

    Args:
        ash: The AshChat.
        found: The components, by their pods.
        results: The state of the backends.
        observed: What the pass read.
        lost: What to do about lost keys for secrets at rest; empty: none is lost.
        live: The objects as they are now.
    """
    judged = [components_status.with_topology(item, results) for item in found]
    for decision in observed.provided.decisions.values():
        if decision.blocking:
            judged = [components_status.without_credentials(item, decision) for item in judged]
    judged = external_secrets.with_wrong(judged, observed.external)
    if lost:
        judged = [components_status.with_lost_key_ring(item, lost) for item in judged]
    return exposure.components(ash, judged, live, observed.exposure)


def problems(observed: Observed, lost: str) -> list[str]:
    """Return what the user must do about Secrets.

    Args:
        observed: What the pass read.
        lost: What to do about lost keys for secrets at rest; empty: none is lost.
    """
    return [
        *(item.message for item in observed.provided.decisions.values() if item.blocking),
        *(message for _, message in observed.external.wrong.values()),
        *([lost] if lost else []),
    ]
