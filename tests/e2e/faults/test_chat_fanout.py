"""Redis loses what chat's pods exchange: what is committed still reaches every connected member."""

import asyncio
import time

from redis.asyncio import Redis

from ashchat_dev.conversation import SENTENCES
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.history import History
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.talkers import check, converse, two_talkers

WORST_S = 5.0
"""Within which a committed message reaches every connected member, whatever is lost."""


async def lose_streams(redis: Redis) -> None:
    """Delete the streams and their epoch, as a Redis that starts without its data does."""
    keys = [key async for key in redis.scan_iter(match="*chat:events:*")]
    await redis.delete("chat:epoch", *keys)


async def test_the_streams_are_lost_again_and_again(
    cluster: Cluster, person: PersonFactory, redis_admin: Redis
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    history = History()
    talkers = await two_talkers(ana, ben, history)

    async def lose() -> None:
        for _ in range(20):
            await lose_streams(redis_admin)
            await asyncio.sleep(0.1)

    await converse(talkers, lose, cluster.wait_ready)
    await check(talkers, history)
    assert [one.resumed for one in talkers] == [0, 0]


async def test_a_message_whose_publication_is_lost_arrives_in_time(
    person: PersonFactory, redis_admin: Redis
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    talkers = await two_talkers(ana, ben, History())
    one, other = talkers
    staying = asyncio.create_task(other.stay())
    losing = asyncio.create_task(_keep_losing(redis_admin))
    try:
        for _ in range(5):
            await one.say(SENTENCES["es"])
            said = time.monotonic()

            def heard() -> bool:
                other.take()
                return one.acknowledged <= set(other.refs())

            await until(heard, within=2 * WORST_S, every=0.05, what="the message")
            assert time.monotonic() - said <= WORST_S
    finally:
        losing.cancel()
        staying.cancel()


async def _keep_losing(redis: Redis) -> None:
    while True:
        await lose_streams(redis)
        await asyncio.sleep(0.01)
