"""A service without pods: the edge says so in words, and its log why."""

import json

import httpx2

from ashchat_dev.environment import Environment
from ashchat_dev.suite import Cluster, until
from ashchat_dev.suite.outages import operator_away

GONE_S = 60.0
TOKEN = "not-for-any-log"


async def test_what_nobody_answers_is_503_in_words_and_a_line_without_the_token(
    cluster: Cluster, where: Environment
) -> None:
    name = f"{cluster.name}-static"
    async with operator_away(cluster):
        await cluster.patch("deployments", name, {"spec": {"replicas": 0}})

        async def gone() -> bool:
            return not await cluster.list("pods", cluster.labels("static"))

        await until(gone, within=GONE_S, what="static gone")
        async with httpx2.AsyncClient(base_url=where.url, timeout=30, trust_env=False) as client:
            answer = await client.get(
                "/unanswered",
                params={"token": TOKEN},
                headers={"Authorization": f"Bearer {TOKEN}", "Cookie": TOKEN},
            )

    async def back() -> bool:
        return bool(await cluster.pods("static"))

    await until(back, within=60, what="static back")
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
