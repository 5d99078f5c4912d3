"""Replicas, autoscalers and disruption budgets of the components."""

from ashchat_operator.render.objects import metadata
from ashchat_operator.resource.model import AshChat, Replicated, Scaled
from ashchat_operator.resource.names import child, selector
from ashchat_operator.resource.types import Object


def replicas(spec: Replicated) -> int | None:
    """Return the number of replicas, or None if a HorizontalPodAutoscaler sets it."""
    return None if isinstance(spec, Scaled) and spec.autoscaling else spec.replicas


def around(ash: AshChat, component: str, spec: Replicated) -> list[Object]:
    """Return the autoscaler and the disruption budget of a component."""
    scaling = spec.autoscaling if isinstance(spec, Scaled) else None
    most = spec.replicas if scaling is None else scaling.max_replicas
    found: list[Object] = []
    if scaling is not None:
        target = {
            "type": "Utilization",
            "averageUtilization": scaling.target_cpu_utilization_percentage,
        }
        found.append(
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": metadata(ash, component),
                "spec": {
                    "scaleTargetRef": {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": child(ash, component),
                    },
                    "minReplicas": scaling.min_replicas,
                    "maxReplicas": scaling.max_replicas,
                    "metrics": [
                        {"type": "Resource", "resource": {"name": "cpu", "target": target}}
                    ],
                },
            }
        )
    if most > 1:
        # Not minAvailable: with a single pod, which an autoscaler may choose, a drain would never
        # finish. For the same reason a fixed single pod has no budget.
        found.append(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": metadata(ash, component),
                "spec": {
                    "maxUnavailable": 1,
                    "selector": {"matchLabels": selector(ash, component)},
                    # A pod that is not ready must not block a drain (KEP-3017).
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                },
            }
        )
    return found
