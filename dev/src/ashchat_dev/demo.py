"""`make demo`: two people sign up, sign in and talk, each in their own language."""

import asyncio
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ashchat_dev import environment
from ashchat_dev.client import Person, RequestRefusedError
from ashchat_dev.conversation import Heard, NotSentError, Participant, on_different_pods
from ashchat_dev.environment import Environment, NotConfiguredError
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.kube.metrics import Metrics
from ashchat_dev.mailbox import Mailbox, NoMailError
from ashchat_dev.phoenix import JoinRefusedError, SocketLostError, SocketRefusedError

WIDTH: Final = 80
LANGUAGES: Final = {"es": "Spanish", "en": "English"}
COLOURS: Final = ("cyan", "magenta")

SCRIPT: tuple[tuple[int, str], ...] = (
    (0, "Buenos días, Emma. Mi casa nueva es muy grande."),
    (1, "Good morning, Lucía. My house is small, but the garden is beautiful."),
    (0, "Hay una habitación para ti y tu perro en mi casa."),
    (1, "Thank you! The dog and I are very happy."),
)
"""Who (by number) says what: sentences that a rule-based engine gets right."""


class DemoFailedError(RuntimeError):
    """The conversation failed; the message is for the user of the terminal."""


@dataclass(frozen=True, slots=True)
class Seat:
    """The pod of a user's socket, and whether its metrics agree."""

    person: Person
    pod: str
    sockets: int | None
    """Open sockets by the pod's own metrics; None: no KUBECONFIG to ask with."""


def milliseconds(seconds: float) -> str:
    """Return a duration for display, at least a millisecond."""
    return f"{max(1, math.ceil(seconds * 1000))} ms" if seconds < 1 else f"{seconds:.1f} s"


def console_for_reading() -> Console:
    """Return a console at most 80 columns wide; rich itself respects NO_COLOR and pipes."""
    console = Console(highlight=False)
    if not console.is_terminal or console.width > WIDTH:
        console = Console(highlight=False, width=WIDTH)
    return console


def people_table(seats: list[Seat]) -> Table:
    """Return the participants and their pods."""
    table = Table.grid(padding=(0, 2))
    for seat, colour in zip(seats, COLOURS, strict=True):
        table.add_row(
            Text(seat.person.name, style=f"bold {colour}"),
            Text(LANGUAGES[seat.person.language]),
            Text(f"socket on {seat.pod}", style="dim"),
            Text("" if seat.sockets is None else f"sockets there: {seat.sockets}", style="dim"),
        )
    return table


def sign_in_lines(second: Person, signed_up: float, signed_in: float) -> list[Text]:
    """Return how the two signed in: by mailed codes, and then one of them with two-factor."""
    return [
        Text(
            f"  Both signed up with the codes from their mails and signed in: {signed_up:.1f} s.",
            style="dim",
        ),
        Text(
            f"  {second.name} signs in on a second device with a code from her authenticator: "
            f"{signed_in:.1f} s.",
            style="dim",
        ),
    ]


def exchange_table(writer: Person, reader: Person, heard: Heard, *, colours: list[str]) -> Table:
    """Return one message as both users saw it, and its duration."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=13)
    table.add_column()
    table.add_row(
        Text.assemble((writer.name, f"bold {colours[0]}"), (" writes", "dim")), Text(heard.original)
    )
    table.add_row(
        Text.assemble((reader.name, f"bold {colours[1]}"), (" reads", "dim")),
        Text(heard.text, style="bold"),
    )
    took = f"the original after {milliseconds(heard.original_seconds)}"
    if heard.translation_seconds is not None:
        took += f", the translation after {milliseconds(heard.translation_seconds)}"
    table.add_row("", Text(took, style="dim"))
    return table


def summary(all_heard: list[Heard]) -> Text:
    """Return the last line: the number of messages and the medians."""
    originals = [heard.original_seconds for heard in all_heard]
    translations = [
        heard.translation_seconds for heard in all_heard if heard.translation_seconds is not None
    ]
    line = Text.assemble(
        (f"{len(all_heard)} messages", "bold green"),
        ", each read in the reader's own language. ",
        f"Median: original {milliseconds(statistics.median(originals))}",
    )
    if translations:
        line.append(f", translation {milliseconds(statistics.median(translations))}.")
    return line


async def open_sockets(where: Environment, pod: str) -> int | None:
    """Return a pod's number of open sockets; None if the cluster does not answer."""
    if where.kubeconfig is None or not where.kubeconfig.is_file():
        return None
    async with Cluster(
        where.kubeconfig, kubectl=where.kubectl, namespace=where.namespace
    ) as cluster:
        metrics: Metrics = await cluster.metrics(pod)
    return int(metrics.total("ashchat_chat_sockets"))


async def seats(where: Environment, participants: list[Participant]) -> list[Seat]:
    """Return on which pods the participants are.

    Raises:
        DemoFailedError: A pod's metrics have no socket although a user is connected to it.
    """
    taken: list[Seat] = []
    for participant in participants:
        try:
            count = await open_sockets(where, participant.pod)
        except (ApiError, httpx2.TransportError):
            # The proof is an extra; a kubeconfig that has gone stale must not end the talk.
            count = None
        if count == 0:
            raise DemoFailedError(f"{participant.pod} says it has no socket open, but it has.")
        taken.append(Seat(participant.person, participant.pod, count))
    return taken


async def talk(where: Environment, console: Console) -> None:
    """Run the conversation and print it.

    Raises:
        DemoFailedError, RequestRefusedError, NoMailError, SocketRefusedError, SocketLostError,
        JoinRefusedError, TimeoutError, httpx2.HTTPError: The demo failed.
    """
    console.print(Text.assemble(("AshChat", "bold"), " at ", (where.url, "underline")))
    console.print()
    async with (
        Mailbox(where.mailbox_url) as mailbox,
        Person(where, "Lucía", "es") as at_home,
        at_home.on_another_device() as lucia,
        Person(where, "Emma", "en") as emma,
    ):
        with console.status("Two people sign up …"):
            started = time.monotonic()
            await asyncio.gather(at_home.register(mailbox), emma.register(mailbox))
            signed_up = time.monotonic() - started
            authenticator = await at_home.enrol_authenticator()
            started = time.monotonic()
            await lucia.sign_in_with(authenticator)
            signed_in = time.monotonic() - started
            chat_id = await lucia.open_chat(await emma.tag())
            participants = await on_different_pods([lucia, emma], chat_id)
            people = await seats(where, participants)
        console.print(Padding(people_table(people), (0, 2), expand=False))
        console.print()
        for line in sign_in_lines(lucia, signed_up, signed_in):
            console.print(line)
        if people[0].pod == people[1].pod:
            console.print(Text("  There is only one chat pod, so both are on it.", style="yellow"))
        console.print()
        all_heard: list[Heard] = []
        for number, text in SCRIPT:
            writer, reader = participants[number], participants[1 - number]
            said = await writer.say(text)
            heard = await reader.hear(said)
            all_heard.append(heard)
            colours = [COLOURS[number], COLOURS[1 - number]]
            console.print(
                Padding(
                    exchange_table(writer.person, reader.person, heard, colours=colours),
                    (0, 2),
                    expand=False,
                )
            )
            console.print()
            if heard.text == heard.original:
                raise DemoFailedError(
                    f"{reader.person.name} was left with the original: "
                    f"{heard.reason or 'no translation came'}."
                )
        console.print(summary(all_heard))


def explain(error: Exception, where: Environment) -> str:
    """Return what failed and what to do, for the user of the terminal."""
    match error:
        case httpx2.TransportError():
            asked = error.request.url if getattr(error, "_request", None) else where.url
            return (
                f"{asked} does not answer ({type(error).__name__}). "
                "Is AshChat up? `make up` starts it, or says what it waits for."
            )
        case NoMailError():
            return f"The code did not come by mail: {error}. Look at {where.mailbox_url}."
        case RequestRefusedError():
            return f"AshChat refused a step that should work: {error}."
        case SocketRefusedError() | JoinRefusedError() | SocketLostError() | TimeoutError():
            return f"The chat did not go on: {error}."
        case _:
            return str(error)


def main() -> int:
    """Run the demo; return the exit code: 0 success, 1 failure, 2 no AshChat is configured."""
    console = console_for_reading()
    complain = Console(stderr=True, width=console.width, highlight=False)
    try:
        where = environment.load(os.environ, Path.cwd())
    except NotConfiguredError as error:
        complain.print(Text(str(error), style="red"))
        return 2
    try:
        asyncio.run(talk(where, console))
    except (
        DemoFailedError,
        NotSentError,
        RequestRefusedError,
        SocketRefusedError,
        SocketLostError,
        JoinRefusedError,
        TimeoutError,
        httpx2.HTTPError,
    ) as error:
        complain.print(Text(explain(error, where), style="red"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
