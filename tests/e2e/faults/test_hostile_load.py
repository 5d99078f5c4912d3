"""A hostile host and a hostile account send what they can; honest users do not notice.

The same load to a server that does nothing is the control: it costs the same CPU. Senders are pods,
so each has its own address; they have half a core between them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import httpx2
import pytest

from ashchat_dev.client import Person
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.backends import RabbitManagement
from ashchat_e2e.bench.figures import percentile
from ashchat_e2e.hostile.attacks import Identity
from ashchat_e2e.hostile.endpoints import samples
from ashchat_e2e.hostile.generator import Plan
from ashchat_e2e.hostile.growth import measure as sizes
from ashchat_e2e.hostile.growth import waiting
from ashchat_e2e.hostile.pods import field
from ashchat_e2e.hostile.tally import Tally
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.sampling import seed, whole
from ashchat_e2e.traffic import Scale, Took, Traffic, traffic

# The whole measures, so nothing else may run meanwhile.
pytestmark = [pytest.mark.slow, *([pytest.mark.exclusive] if whole() else [])]

ATTACK_S: Final = 600.0 if whole() else 20.0
CONTROL_S: Final = 150.0
"""Duration of each of the two controls of `make soak`, before and after the attack."""

LINGERS_S: Final = 30.0 if whole() else 1.0
"""How long actions that have begun may go on; a slow body lasts 25 s."""

RATES: Final = {"stranger": 60.0, "account": 40.0}
"""Actions a second of each sender."""

SCALE: Final = (
    Scale(6, 3, 2, 3, sign_in_every_s=9) if whole() else Scale(1, 1, 1, 1, sign_up_every_s=8)
)
"""The honest users: 20 in `make soak`."""

FACTOR: Final = 2.0
"""Maximum ratio of the 99th percentiles under attack and under control, in `make soak`."""

ANSWERED_SHARE_MIN: Final = 0.5 if whole() else 0.2
"""Minimum share of the actions that were answered; on a busy machine many are withheld."""

ENOUGH: Final = 100
"""Operations of one kind from which on a 99th percentile is compared."""

QUIET_WITHIN_S: Final = 60.0
REDIS_SHARE_MAX: Final = 0.5
MEMORY_SHARE_MAX: Final = 0.8
UPLOADS_MAX: Final = 500
"""Uploads of one account a day, by docs/reference/limits.md."""

VICTIMS_MAILS_MAX: Final = 20
"""Codes that strangers can have mailed to an address from one network within the attack: 8 an hour
for sign-ups and for resets, and what refills."""

STRANGERS_MAILS_MAX: Final = 2_100
"""The same to all addresses: 2,000 a day, and what refills."""

Record = Callable[[str, object], None]


async def hostile_identity(eve: Person, victim: Person) -> Identity:
    """Return the account that a sender uses; it has a chat with the victim."""
    tag = await victim.tag()
    return Identity(
        email=eve.email,
        user_id=eve.user_id,
        token=eve.token,
        refresh_token=eve.refresh_token,
        device_token=eve.device_token,
        chat_id=await eve.open_chat(tag),
        victim_tag=tag,
    )


async def plans(anybody: httpx2.AsyncClient, victim: Person, eve: Identity) -> dict[str, Plan]:
    """Return what the two senders send, wherever and how long."""
    found = {}
    for name, rate in RATES.items():
        identity = eve if name == "account" else None
        own = f"{seed()} {name}"
        found[name] = Plan(
            "", 0, rate, own, victim.email, identity,
            await samples(anybody, own, signed_in=identity is not None), LINGERS_S,
        )  # fmt: skip
    return found


def aimed(found: Mapping[str, Plan], base: str, seconds: float) -> dict[str, Plan]:
    """Return plans with a server and a duration."""
    return {name: replace(plan, base=base, seconds=seconds) for name, plan in found.items()}


def within(took: Sequence[Took], tallies: Sequence[Mapping[str, Tally]]) -> list[float]:
    """Return the durations of the operations that began while all senders of a phase sent."""
    windows = [
        (max(each.began for each in phase.values()), min(each.ended for each in phase.values()))
        for phase in tallies
    ]
    return [one.seconds for one in took if any(a <= one.at <= b for a, b in windows)]


def ratios(
    seen: Traffic, attacked: Mapping[str, Tally], controls: Sequence[Mapping[str, Tally]]
) -> dict[str, tuple[int, float, float]]:
    """Return each operation's count and 99th percentiles: under attack and under control."""
    found = {}
    for name, took in sorted(seen.took.items()):
        attack, control = within(took, [attacked]), within(took, controls)
        if min(len(attack), len(control)):
            found[name] = len(attack), percentile(attack, 99), percentile(control, 99)
    return found


def well_sent(tallies: Mapping[str, Tally]) -> None:
    """Check that senders began what was due: otherwise the load was not what it should be."""
    for name, tally in tallies.items():
        assert tally.due == int(RATES[name] * ATTACK_S), name
        assert tally.answers.total() > tally.due * ANSWERED_SHARE_MIN, (name, tally)


async def test_honest_users_do_not_notice_a_hostile_host_and_a_hostile_account(
    *,
    cluster: Cluster,
    anybody: httpx2.AsyncClient,
    person: PersonFactory,
    mailbox: Mailbox,
    rabbit: RabbitManagement,
    record_property: Record,
) -> None:
    victim, eve = await person("Victim", "en"), await person("Eve", "es")
    plan = await plans(anybody, victim, await hostile_identity(eve, victim))
    target = f"http://{cluster.name}-edge.{cluster.namespace}.svc"
    before = await sizes(cluster, rabbit)
    mails = len(await mailbox.list(victim.email))
    async with field(cluster) as sending, traffic(person, mailbox, SCALE) as seen:

        async def control() -> dict[str, Tally]:
            return await sending.attack(aimed(plan, sending.null_url, CONTROL_S))

        controls = [await control()] if whole() else []
        attacked = await sending.attack(aimed(plan, target, ATTACK_S))
        ended = time.monotonic()
        during = await sizes(cluster, rabbit)

        async def quiet() -> bool:
            return await waiting(rabbit) == 0

        await until(quiet, within=QUIET_WITHIN_S, every=1, what="empty queues")
        record_property("quiet", f"{time.monotonic() - ended:.1f} s after the attack")
        controls += [await control()] if whole() else []
        refused = [dict(who.refused) for room in seen.rooms for who in room if who.refused]
    for name, tally in attacked.items():
        record_property(name, tally.dumps())
    figures = ratios(seen, attacked, controls)
    record_property("honest", figures)
    record_property("growth", f"{before} {during}")

    assert seen.failed == []
    assert refused == []
    assert seen.reconnects == 0
    well_sent(attacked)
    assert {name: tally.undocumented for name, tally in attacked.items()} == {
        name: [] for name in attacked
    }
    assert before.restarts == during.restarts
    shares = {pod: size / during.memory_limits[pod] for pod, size in during.resident_bytes.items()}
    assert max(shares.values()) < MEMORY_SHARE_MAX, shares
    assert max(during.redis_share.values()) < REDIS_SHARE_MAX, during.redis_share
    assert attacked["account"].answers["upload: 201"] <= UPLOADS_MAX
    assert len(await mailbox.list(victim.email)) - mails <= VICTIMS_MAILS_MAX
    honest = seen.done["sign-up"]
    assert during.mails - before.mails <= honest + STRANGERS_MAILS_MAX + VICTIMS_MAILS_MAX
    if whole():
        slow = {
            name: figure
            for name, figure in figures.items()
            if figure[0] >= ENOUGH and figure[1] > FACTOR * figure[2]
        }
        assert slow == {}
