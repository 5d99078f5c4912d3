"""The quota of stored text is counted on all pods, in the Redis that may evict."""

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio import Redis

from ashchat_chat.users.text_allowances import DAY_SECONDS, LIMIT
from ashchat_core.admission.rules import Bucket, Rate
from ashchat_core.topology import COUNTERS, Service
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.backends import forwarded_uri
from ashchat_e2e.people import PersonFactory


def text(**more: Any) -> dict[str, Any]:
    return {"content": "a" * 8_000, "mobile_ref_id": str(uuid.uuid4()), **more}


async def test_an_account_that_has_used_up_its_day_is_refused_alone(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    hers, his = await ana.join_chat(chat_id), await ben.join_chat(chat_id)
    earlier = await his.push("send_message", text())
    assert earlier.status == "ok", earlier
    bucket = Bucket(LIMIT, (ana.user_id,), Rate(1, DAY_SECONDS))
    async with AsyncExitStack() as stack:
        uri = await forwarded_uri(cluster, stack, Service.CHAT.value, f"{COUNTERS}.uri", 6379)
        client = await stack.enter_async_context(Redis.from_url(uri))
        full_at = time.time() + DAY_SECONDS
        await client.set(f"chat:admission:{bucket.key}", full_at, ex=int(DAY_SECONDS))
    refused = await hers.push("send_message", text())
    assert (refused.status, refused.response["reason"]) == ("error", "text_quota_exceeded")
    assert 1_000 <= refused.response["retry_after_ms"] <= 1_000 * DAY_SECONDS
    edit = text(message_id=earlier.response["message_id"])
    assert (await his.push("edit_message", edit)).status == "ok"
