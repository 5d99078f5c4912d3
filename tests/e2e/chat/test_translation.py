"""Translation: what it leaves unchanged, what it costs, and what happens when a part fails."""

import asyncio

import pytest

from ashchat_dev.conversation import Participant
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.new_sentences import HOUSE, new_word
from ashchat_e2e.people import PersonFactory

pytestmark = pytest.mark.smoke

KEPT = ("@ben", "`rm -rf x`", "https://a.example/casa?perro=1", "10:30", "👋🏽")


async def talking(person: PersonFactory) -> tuple[Participant, Participant]:
    """Return a Spanish and an English reader in a chat."""
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    one, other = await asyncio.gather(
        Participant.join(ana, chat_id), Participant.join(ben, chat_id)
    )
    return one, other


ATTEMPTS = 5


async def total(cluster: Cluster, metric: str, **labels: str) -> float:
    """Return the sum of a metric of translate over all of its pods."""
    metrics = [await cluster.metrics(pod) for pod in await cluster.pods("translate")]
    return sum(one.total(f"ashchat_translate_{metric}", **labels) for one in metrics)


async def test_text_without_language_is_left_unchanged(person: PersonFactory) -> None:
    one, other = await talking(person)
    said = await one.say(f"La casa es grande {' y '.join(KEPT)} y el perro es negro.")
    heard = await other.hear(said)
    assert "house" in heard.text
    for kept in KEPT:
        assert kept in heard.text


async def test_the_same_text_is_translated_once(cluster: Cluster, person: PersonFactory) -> None:
    """Unless the machine is so busy that the cache does not answer, which the service reports."""
    one, other = await talking(person)
    for _ in range(ATTEMPTS):
        unavailable = await total(cluster, "cache_lookups_total", result="unavailable")
        before = await total(cluster, "provider_calls_total")
        await say_to_three(one, other)
        calls = await total(cluster, "provider_calls_total") - before
        if await total(cluster, "cache_lookups_total", result="unavailable") == unavailable:
            assert calls == 1
            return
    raise AssertionError(f"the cache did not answer in any of {ATTEMPTS} attempts")


async def say_to_three(one: Participant, other: Participant) -> None:
    """Say a new text three times, each time to another user."""
    text = HOUSE.format(new_word())
    for name in ("ben", "eva", "luz"):
        heard = await other.hear(await one.say(f"Hola @{name}. {text}"))
        assert "house" in heard.text
        assert f"@{name}" in heard.text


async def test_an_unsupported_language_shows_the_original(
    person: PersonFactory,
) -> None:
    ana, eva = await asyncio.gather(person("Ana", "es"), person("Eva", "vi"))
    chat_id = await ana.open_chat(await eva.tag())
    one, other = await asyncio.gather(
        Participant.join(ana, chat_id), Participant.join(eva, chat_id)
    )
    heard = await other.hear(await one.say("La casa es grande."))
    assert (heard.text, heard.reason) == ("La casa es grande.", "pair_unsupported")


@pytest.mark.parametrize("component", ["apertium", "cache", "translate"])
async def test_translation_survives_a_kill(
    cluster: Cluster, person: PersonFactory, component: str
) -> None:
    """The originals are delivered immediately; every translation follows."""
    one, other = await talking(person)
    await other.hear(await one.say("El gato es blanco."))
    await cluster.kill(component)
    texts = [HOUSE.format(new_word()) for _ in range(5)]
    said = [await one.say(text) for text in texts]
    heard = [await other.hear(one_said, within=60) for one_said in said]
    for text, one_heard in zip(texts, heard, strict=True):
        assert one_heard.original == text
        assert "house" in one_heard.text, one_heard
        assert one_heard.original_seconds < 5
