"""Begin hostile actions at a fixed rate, whatever becomes of the earlier ones.

Runs in a pod: `python -m ashchat_e2e.hostile.generator PLAN.json`. Prints a Tally as JSON.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import aiohttp

from ashchat_e2e.hostile.attacks import ACCOUNT, STRANGER, Attack, Identity, Sample, Sender
from ashchat_e2e.hostile.tally import Tally

UNFINISHED_MAX: Final = 200
"""Maximum number of unfinished actions of one sender."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sender does."""

    base: str
    """The URL of the server."""

    seconds: float
    rate: float
    """Actions a second."""

    seed: str
    victim: str
    """The address of an account that is not the sender's."""

    identity: Identity | None = None
    samples: Sequence[Sample] = ()
    """Requests to every endpoint."""

    lingers_seconds: float = 1.0
    """How long unfinished actions may go on at the end."""

    def dumps(self) -> str:
        """Return this as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Plan":
        """Return the plan that `dumps` wrote."""
        found = json.loads(text)
        if found["identity"] is not None:
            found["identity"] = Identity(**found["identity"])
        found["samples"] = [Sample(**each) for each in found["samples"]]
        return cls(**found)


async def send(plan: Plan, attacks: Mapping[Attack, int]) -> Tally:
    """Send as planned, and return what became of it."""
    tally = Tally(began=time.time())
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        draw = random.Random(plan.seed)  # noqa: S311 (a sample, not a secret)
        sender = Sender(plan.base, session, tally, plan.victim, draw, plan.identity, plan.samples)
        unfinished: set[asyncio.Task[None]] = set()
        chosen = draw.choices([*attacks], [*attacks.values()], k=int(plan.seconds * plan.rate))
        began = time.monotonic()
        for number, attack in enumerate(chosen):
            due = began + number / plan.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tally.due += 1
            tally.behind_seconds = max(tally.behind_seconds, time.monotonic() - due)
            if len(unfinished) >= UNFINISHED_MAX:
                tally.withheld += 1
                continue
            task = asyncio.create_task(_act(attack, sender))
            unfinished.add(task)
            task.add_done_callback(unfinished.discard)
            task.add_done_callback(tally.crashed)
        tally.ended = time.time()
        tally.cpu_seconds = time.process_time()
        if unfinished:
            _, late = await asyncio.wait(unfinished, timeout=plan.lingers_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
    return tally


async def _act(attack: Attack, sender: Sender) -> None:
    try:
        await attack(sender)
    except (aiohttp.ClientError, OSError) as error:
        sender.tally.broke(attack.__name__, error)


def main(path: str) -> None:
    """Do what a file says, and print the tally."""
    plan = Plan.loads(Path(path).read_text())
    attacks = ACCOUNT if plan.identity else STRANGER
    sys.stdout.write(asyncio.run(send(plan, attacks)).dumps() + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
