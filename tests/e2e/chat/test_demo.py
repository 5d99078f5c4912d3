"""The conversation that `make demo` shows, in both protocols, across two pods."""

import asyncio
import os
import re
import sys

import pyotp
import pytest

from ashchat_dev.conversation import Participant, on_different_pods
from ashchat_dev.conversation import Protocol as ChatProtocol
from ashchat_dev.environment import Environment
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.people import PersonFactory

pytestmark = pytest.mark.smoke

LINES = (("es", "La casa es grande.", "house"), ("en", "The dog is black.", "perro"))


async def run_demo(where: Environment, **environ: str) -> tuple[int, str, str]:
    """Run `python -m ashchat_dev.demo` as make does, with a pipe; return code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ashchat_dev.demo",
        env={
            **os.environ,
            "ASHCHAT_URL": where.url,
            "MAILBOX_URL": where.mailbox_url,
            "ASHCHAT_NAMESPACE": where.namespace,
            "KUBECONFIG": str(where.kubeconfig or ""),
            **environ,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_demo_prints_a_conversation_with_translations(
    where: Environment,
) -> None:
    code, out, err = await run_demo(where)
    assert code == 0, err
    assert "\x1b" not in out, "output to a pipe must not be coloured"
    assert max(len(line) for line in out.splitlines()) <= 80
    words = set(re.findall(r"\w+", out.lower()))
    assert {"casa", "house", "garden", "jardín", "jardim"} <= words, out
    pods = set(re.findall(r"socket on (\S+)", out))
    assert len(pods) == 2, out
    assert re.search(r"the originals after \d+ ms, the translations after", out)
    assert re.search(r"Lucía reacts +🌷 *\n +seen by the others after", out)
    assert re.search(r"“Good morning[^\n]+\n +Emma replies", out)
    assert "Emma edits" in out
    assert "Lucía signs in on a second device with a code from her authenticator" in out


async def test_a_second_device_needs_the_authenticator_and_each_code_works_once(
    person: PersonFactory,
) -> None:
    ana = await person()
    authenticator = await ana.enrol_authenticator()
    async with ana.on_another_device() as phone, ana.on_another_device() as stranger:
        await phone.sign_in_with(authenticator)
        assert await phone.profile() == await ana.profile(), "both devices are signed in"
        asked = await stranger.signin()
        assert (asked.status, asked.reason) == (403, "new_device_totp")
        used = pyotp.TOTP(authenticator.secret).generate_otp(authenticator.last_step)
        again = await stranger.confirm_new_device(used, asked.data["token"])
        assert (again.status, again.reason) == (403, "wrong_code")
        assert (await stranger.signin()).status == 403


async def test_the_demo_explains_what_is_missing(where: Environment) -> None:
    code, out, err = await run_demo(where, ASHCHAT_URL="http://127.0.0.1:1")
    assert (code, "Traceback" in err) == (1, False)
    assert "does not answer" in err
    assert "make up" in err
    assert "writes" not in out


@pytest.mark.parametrize("protocol", [1, 2])
async def test_two_users_each_read_their_own_language(
    person: PersonFactory, protocol: ChatProtocol
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    one = await Participant.join(ana, chat_id, protocol)
    other = await Participant.join(ben, chat_id, protocol)
    for speaker, listener, (_, text, word) in zip((one, other), (other, one), LINES, strict=True):
        heard = await listener.hear(await speaker.say(text))
        assert heard.original == text
        assert word in heard.text.lower()
        assert heard.original_seconds <= (heard.translation_seconds or 0)


async def test_clients_of_both_protocols_exchange_messages(person: PersonFactory) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    one = await Participant.join(ana, chat_id, 1)
    other = await Participant.join(ben, chat_id, 2)
    assert "house" in (await other.hear(await one.say("La casa es grande."))).text.lower()
    assert "perro" in (await one.hear(await other.say("The dog is black."))).text.lower()


async def sockets(cluster: Cluster) -> dict[str, float]:
    """Return how many open sockets each chat pod reports."""
    return {
        pod: (await cluster.metrics(pod)).total("ashchat_chat_sockets")
        for pod in await cluster.pods("chat")
    }


async def test_two_users_on_different_pods_exchange_messages(
    cluster: Cluster, person: PersonFactory
) -> None:
    async def quiet() -> bool:
        return not any((await sockets(cluster)).values())

    # Sockets of earlier tests may still be closing.
    await until(quiet, within=60, what="all earlier sockets closed")
    before = await sockets(cluster)
    assert len(before) >= 2, f"the examples run two chat pods; found {list(before)}"
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    one, other = await on_different_pods([ana, ben], chat_id)
    assert one.pod != other.pod
    wanted = {pod: float(pod in {one.pod, other.pod}) for pod in before}

    async def one_each() -> bool:
        return await sockets(cluster) == wanted

    await until(one_each, within=15, what=f"one socket per pod in the metrics: {wanted}")
    for speaker, listener, (_, text, word) in zip((one, other), (other, one), LINES, strict=True):
        heard = await listener.hear(await speaker.say(text))
        assert (heard.original, word in heard.text.lower()) == (text, True)


async def test_the_original_is_delivered_without_waiting_for_the_translation(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    one, other = await on_different_pods([ana, ben], chat_id)
    async with cluster.spec({"translate": {"replicas": 0}}):
        said = await one.say("La casa es grande.")
        original = await other.channel.wait(
            "event", lambda event: event.get("mobile_ref_id") == said.ref
        )
        assert original.payload["content"] == "La casa es grande."
        assert original.at - said.at < 3
    # Messages sent while no provider was available are translated afterwards.
    heard = await other.hear(said, within=60)
    assert "house" in heard.text.lower()
