"""The doctor's rules: each examines the facts for one kind of fault. Pure.

A finding states what is wrong, why it may be so, and a command to start with. A rule that lacks its
facts (a permission was missing) finds nothing; `Facts.skipped` lists what was not read.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ashchat_cli.rules.backends import (
    backends,
    consumers,
    dead_letters,
    holding,
    secrets,
    wanted_secrets,
)
from ashchat_cli.rules.facts import Facts, Finding, Severity, Web, moment
from ashchat_cli.rules.installation import clocks, commands, crd, not_ready, operator
from ashchat_cli.rules.network import mail, network, selects, web
from ashchat_cli.rules.pods import crashes, images, scheduling

__all__ = [
    "RULES",
    "Facts",
    "Finding",
    "Severity",
    "Web",
    "examine",
    "moment",
    "selects",
    "wanted_secrets",
]

Rule = Callable[[Facts], Iterable[Finding]]

RULES: Final[Sequence[Rule]] = (
    *(crd, operator, secrets, images, scheduling, crashes, backends),
    *(network, mail, web, consumers, clocks, commands, holding, dead_letters, not_ready),
)
"""In the order in which a reader checks: earlier findings may explain later ones."""


def examine(facts: Facts) -> list[Finding]:
    """Return all that is found, errors first."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda finding: finding.severity is not Severity.ERROR)
