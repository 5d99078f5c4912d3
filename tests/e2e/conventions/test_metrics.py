"""A running pod exports every metric that the chart's alerts and dashboard use."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ashchat_core.topology import Service
from ashchat_dev import promql
from ashchat_dev.kube.api import path_of
from ashchat_dev.kube.cluster import PRIVATE_PORT, Cluster
from ashchat_e2e.operator_pods import leader, own_metrics

pytestmark = pytest.mark.smoke

FILES = Path(__file__).parents[3] / "charts" / "ashchat-operator" / "files"


async def exported(cluster: Cluster, pod: str, namespace: str) -> set[str]:
    place = path_of("pods", f"{pod}:{PRIVATE_PORT}", namespace)
    families = text_string_to_metric_families(await cluster.get(f"{place}/proxy/metrics"))
    return {name for family in families for name in promql.series(family.name, family.type)}


async def test_metrics_of_alerts_and_dashboard_exist(cluster: Cluster) -> None:
    pods = [((await leader(cluster))["metadata"]["name"], cluster.operator_namespace)]
    pods += [((await cluster.pods(service))[0], cluster.namespace) for service in Service]
    there: set[str] = set()
    for pod, namespace in pods:
        there |= await exported(cluster, pod, namespace)
    named = {
        metric
        for expression in promql.expressions(FILES)
        for metric in promql.metrics_in(expression)
    }
    assert named, "the chart names no metrics"
    assert not named - there


async def test_the_operator_exports_this_resources_conditions(cluster: Cluster) -> None:
    metrics = await own_metrics(cluster)
    labels = {"namespace": cluster.namespace, "name": cluster.name}
    assert metrics.value("ashchat_operator_resource_ready", **labels) == 1
    conditions = (await cluster.resource())["status"]["conditions"]
    for item in conditions:
        told = {**labels, "type": item["type"], "status": item["status"]}
        assert metrics.value("ashchat_operator_resource_condition", **told) == 1, told
    assert metrics.total("ashchat_operator_api_requests_total", verb="get", kind="AshChat") > 0
    assert metrics.total("ashchat_operator_build_info") == 1
    queues = {item["queue"] for item in metrics.labels("ashchat_operator_dead_letter_messages")}
    assert any(queue.endswith(".dead") for queue in queues)
