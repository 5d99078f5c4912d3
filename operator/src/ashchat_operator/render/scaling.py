"""How many pods a component has, who decides it, and how many may be missing at a time."""

from ashchat_operator.render.objects import metadata
from ashchat_operator.resource.model import AshChat, Replicated, Scaled
from ashchat_operator.resource.names import child, selector
from ashchat_operator.resource.types import Object


def replicas(spec: Replicated) -> int | None:
    """Return how many pods are wanted; None: a HorizontalPodAutoscaler decides."""
    return None if isinstance(spec, Scaled) and spec.autoscaling else spec.replicas


def around(ash: AshChat, component: str, spec: Replicated) -> list[Object]:
    """Return what goes with a component's Deployment, by how many pods it may have."""
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
        # Not minAvailable: with an autoscaler there may be one pod, which a drain would then
        # wait for without end. A single pod gets no budget for the same reason.
        found.append(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": metadata(ash, component),
                "spec": {
                    "maxUnavailable": 1,
                    "selector": {"matchLabels": selector(ash, component)},
                    # A pod that does not work anyway must not hold up a drain (KEP-3017).
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                },
            }
        )
    return found
