"""`make demo`: three people sign up, sign in and talk in a group, each in their own language."""

import asyncio
import math
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
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
from ashchat_dev.conversation import Heard, NotSentError, Participant, Said, on_different_pods
from ashchat_dev.environment import Environment, NotConfiguredError
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.kube.metrics import Metrics
from ashchat_dev.mailbox import Mailbox, NoMailError
from ashchat_dev.phoenix import JoinRefusedError, SocketLostError, SocketRefusedError

WIDTH: Final = 80
LANGUAGES: Final = {"es": "Spanish", "en": "English", "pt": "Portuguese"}
COLOURS: Final = ("cyan", "magenta", "green")
GROUP: Final = "La casa nueva"


@dataclass(frozen=True, slots=True)
class Line:
    """What a user, by number, says; `answers` and `edits` are the numbers of earlier lines."""

    speaker: int
    text: str
    answers: int | None = None
    edits: int | None = None

    @property
    def verb(self) -> str:
        """What the speaker does."""
        return (
            "edits" if self.edits is not None else "writes" if self.answers is None else "replies"
        )


SCRIPT: Final = (
    Line(0, "Buenos días. Mi casa nueva es muy grande."),
    Line(1, "Good morning, Lucía. My house is small.", answers=0),
    Line(2, "A minha casa é pequena, mas o jardim é bonito."),
    Line(1, "Good morning, Lucía. My house is small, but the garden is beautiful.", edits=1),
)
"""Sentences that a rule-based engine gets right."""

REACTION: Final = (0, 2, "🌷")
"""Who reacts to which line, with what."""


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
    """Return how they signed in: by mailed codes, and then one of them with two-factor."""
    return [
        Text(
            f"  All signed up with the codes from their mails and signed in: {signed_up:.1f} s.",
            style="dim",
        ),
        Text(
            f"  {second.name} signs in on a second device with a code from her authenticator: "
            f"{signed_in:.1f} s.",
            style="dim",
        ),
        Text(f"  {second.name} creates the group “{GROUP}”.", style="dim"),
    ]


def exchange_table(
    line: Line, people: Sequence[Person], heard: Mapping[int, Heard], answered: str = ""
) -> Table:
    """Return one message as all users saw it, and its duration.

    Args:
        line: What was said.
        people: All users.
        heard: What each reader, by number, received.
        answered: The message that this one answers, as its writer read it.
    """
    table = _two_columns()
    if answered:
        table.add_row("", Text(f"“{answered}”", style="dim italic", no_wrap=True))
    table.add_row(_name(people, line.speaker, line.verb), Text(line.text))
    for reader, one in heard.items():
        table.add_row(_name(people, reader, "reads"), Text(one.text, style="bold"))
    originals = max(one.original_seconds for one in heard.values())
    took = f"the originals after {milliseconds(originals)}"
    translations = [one.translation_seconds for one in heard.values() if one.translation_seconds]
    if translations:
        took += f", the translations after {milliseconds(max(translations))}"
    table.add_row("", Text(took, style="dim"))
    return table


def reaction_table(reactor: int, emoji: str, people: Sequence[Person], seconds: float) -> Table:
    """Return a reaction, and after how many seconds all other users saw it."""
    table = _two_columns()
    table.add_row(_name(people, reactor, "reacts"), Text(emoji))
    table.add_row("", Text(f"seen by the others after {milliseconds(seconds)}", style="dim"))
    return table


def _two_columns() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=13)
    table.add_column()
    return table


def _name(people: Sequence[Person], number: int, verb: str) -> Text:
    return Text.assemble(
        (people[number].name, f"bold {COLOURS[number]}"), (f" {verb}", "dim"), no_wrap=True
    )


def summary(all_heard: list[Heard]) -> Text:
    """Return the last line: the number of messages and the medians."""
    originals = [heard.original_seconds for heard in all_heard]
    translations = [
        heard.translation_seconds for heard in all_heard if heard.translation_seconds is not None
    ]
    line = Text.assemble(
        (f"{len(all_heard)} translations", "bold green"),
        ", each message read in the reader's own language. ",
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
        Person(where, "João", "pt") as joao,
    ):
        with console.status("Three people sign up …"):
            started = time.monotonic()
            await asyncio.gather(*(one.register(mailbox) for one in (at_home, emma, joao)))
            signed_up = time.monotonic() - started
            authenticator = await at_home.enrol_authenticator()
            started = time.monotonic()
            await lucia.sign_in_with(authenticator)
            signed_in = time.monotonic() - started
            group = await lucia.found_group(GROUP, [await emma.tag(), await joao.tag()])
            participants = await on_different_pods([lucia, emma], group)
            participants.append(await Participant.join(joao, group))
            people = await seats(where, participants)
        console.print(Padding(people_table(people), (0, 2), expand=False))
        console.print()
        for line in sign_in_lines(lucia, signed_up, signed_in):
            console.print(line)
        if people[0].pod == people[1].pod:
            console.print(Text("  There is only one chat pod, so all are on it.", style="yellow"))
        console.print()
        console.print(summary(await perform(console, participants)))


async def perform(console: Console, participants: Sequence[Participant]) -> list[Heard]:
    """Let the participants say and do what SCRIPT and REACTION have, and print it.

    Raises:
        DemoFailedError: A reader was left with the original.
        NotSentError, SocketLostError, TimeoutError: The conversation failed.
    """
    people = [one.person for one in participants]
    said: list[Said] = []
    all_heard: list[Mapping[int, Heard]] = []
    for number, line in enumerate(SCRIPT):
        said.append(await speak(participants[line.speaker], line, said))
        readers = [reader for reader in range(len(people)) if reader != line.speaker]
        heard = dict(
            zip(
                readers,
                await asyncio.gather(*(participants[each].hear(said[-1]) for each in readers)),
                strict=True,
            )
        )
        all_heard.append(heard)
        answered = "" if line.answers is None else all_heard[line.answers][line.speaker].text
        _print(console, exchange_table(line, people, heard, answered))
        for reader, one in heard.items():
            if one.text == one.original:
                raise DemoFailedError(
                    f"{people[reader].name} was left with the original: "
                    f"{one.reason or 'no translation came'}."
                )
        if number == REACTION[1]:
            await react(console, participants, said[number])
    return [one for heard in all_heard for one in heard.values()]


async def speak(writer: Participant, line: Line, said: Sequence[Said]) -> Said:
    """Send a line: a message, a reply, or an edit of an earlier one."""
    if line.edits is not None:
        return await writer.edit(said[line.edits].message_id, line.text)
    if line.answers is not None:
        return await writer.say(line.text, reply_to=said[line.answers].message_id)
    return await writer.say(line.text)


async def react(console: Console, participants: Sequence[Participant], said: Said) -> None:
    """Let a participant put an emoji on a message, and print when the others saw it."""
    reactor, _, emoji = REACTION
    started = await participants[reactor].react(said.message_id, emoji)
    others = [one for number, one in enumerate(participants) if number != reactor]
    seen = await asyncio.gather(*(one.see(said.message_id, emoji) for one in others))
    people = [one.person for one in participants]
    _print(console, reaction_table(reactor, emoji, people, max(seen) - started))


def _print(console: Console, table: Table) -> None:
    console.print(Padding(table, (0, 2), expand=False))
    console.print()


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
