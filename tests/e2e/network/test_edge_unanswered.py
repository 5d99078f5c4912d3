"""A service without pods: the edge responds with an explanation and logs the cause."""

import json

import httpx2

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.outages import component_away

TOKEN = "not-for-any-log"


async def test_a_service_without_pods_is_a_503_and_a_log_line_without_the_token(
    cluster: Cluster, anybody: httpx2.AsyncClient
) -> None:
    async with component_away(cluster, "static", "deployments"):
        answer = await anybody.get(
            "/unanswered",
            params={"token": TOKEN},
            headers={"Authorization": f"Bearer {TOKEN}", "Cookie": TOKEN},
        )
    await until(lambda: cluster.pods("static"), within=60, what="static ready again")
    await cluster.wait_ready(within=60)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["reason"] == "unavailable"

    (edge,) = await cluster.pods("edge")
    log = await cluster.logs(edge)
    (line,) = [json.loads(each) for each in log.splitlines() if "/unanswered" in each]
    assert "dial" in line["error"], line
    assert (line["status"], line["request"]["uri"]) == (503, "/unanswered?-")
    assert TOKEN not in log
