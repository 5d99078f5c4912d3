"""Chat pods die during conversations: no acknowledged message is lost."""

import asyncio

from ashchat_dev.conversation import SENTENCES
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.container_runtime import Runtime
from ashchat_e2e.history import History
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.talkers import PACE_S, check, converse, two_talkers

RECOVERY_S = 180.0


async def test_a_chat_pod_is_killed_during_a_conversation(
    cluster: Cluster, person: PersonFactory, runtime: Runtime
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    history = History()
    talkers = await two_talkers(ana, ben, history)

    async def kill() -> None:
        name = talkers[0].pods[-1]
        # With `delete` alone, even forced, the process would have time to shut down gracefully.
        await runtime.kill(await cluster.read("pods", name))
        await cluster.delete("pods", name, now=True)

    await converse(talkers, kill, lambda: cluster.wait_ready(within=RECOVERY_S))
    await check(talkers, history)
    assert talkers[0].resumed >= 1, "the pod's death was not noticed"


async def test_a_stopping_chat_pod_notifies_its_clients(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    history = History()
    talkers = await two_talkers(ana, ben, history)
    socket = (await talkers[0].channel()).socket

    async def stop() -> None:
        await cluster.delete("pods", talkers[0].pods[-1])

    async def stopped() -> None:
        # A stopping pod keeps serving briefly, until no new requests are routed to it.
        await asyncio.wait({socket.closed}, timeout=60)
        await cluster.wait_ready(within=RECOVERY_S)

    await converse(talkers, stop, stopped)
    await check(talkers, history)
    assert socket.closed.result().code == 1012


async def test_an_original_client_receives_each_message_once_while_redis_dies(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    history = History()
    talkers = await two_talkers(ana, ben, history)
    talker = talkers[0]
    await (await talkers[1].channel()).socket.close()
    listening = await ben.join_chat(talker.chat_id, protocol=1)

    async def killed() -> None:
        await cluster.kill("redis")
        await cluster.wait_ready(within=RECOVERY_S)

    fault = asyncio.create_task(killed())
    said = 0
    while said < 15 or not fault.done():
        await talker.say(f"{SENTENCES['es']} {said}")
        said += 1
        await asyncio.sleep(PACE_S)
    await fault
    await until(
        lambda: len(listening.named("receive_message")) >= said,
        within=30,
        what="all messages received",
    )
    numbers = [told["content"].split()[-1] for told in listening.named("receive_message")]
    assert numbers == [str(number) for number in range(said)]
