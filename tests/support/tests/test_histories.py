"""Each kind of broken history is detected by its check alone, and a correct one is accepted."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from ashchat_e2e.histories import checks
from ashchat_e2e.histories.checks import check
from ashchat_e2e.histories.records import (
    Count,
    Entry,
    Operation,
    Outcome,
    Pages,
    Roles,
    Run,
    Seen,
    Stay,
)
from ashchat_e2e.history import ViolationsError

ROOM = "kitchen"
BOTH = frozenset({"ana", "ben"})
FOUNDED = {"ana": "owner", "ben": "member"}
PASSED_ON = {"ana": "admin", "ben": "owner"}
GRANT = "ana makes ben owner"
PUT = Entry(8, "reaction", "put", "ana", about="b1", emoji="+", on=True)
TAKEN_BACK = Entry(9, "reaction", "take back", "ana", about="b1", emoji="+", on=False)


def operation(key: str, user: str, rev: int | None, **fields: Any) -> Operation:
    made = Operation(key, ROOM, user, "message", began=2.0 * (rev or 99))
    if rev is not None:
        made.acknowledge(rev)
        made.ended = made.began + 1
    return replace(made, **fields)


def done(key: str, user: str, times: int = 1, **fields: Any) -> Operation:
    """Return an operation that was acknowledged without a place in the log, some times."""
    made = operation(key, user, None, begun=times, **fields)
    for _ in range(times):
        made.acknowledge(None)
    return made


def correct() -> Run:
    """Return a history with everything that is checked.

    A lost answer, a resumption, a translation, edits of which one adds a mention, a reaction that
    is taken back and put again, and an ownership that is passed on.
    """
    run = Run()
    for each in (
        operation("a1", "ana", 2),
        operation("b1", "ben", 4, mentions=frozenset({"ana"})),
        operation("a2", "ana", None),
        operation("a3", "ana", None, outcome=Outcome.REFUSED, ended=300.0),
        operation("e1", "ana", 6, kind="edit", about="a1"),
        operation("b2", "ben", 7),
        done("put", "ana", 2, kind="reaction", about="b1"),
        done("take back", "ana", kind="reaction", about="b1"),
        operation("e2", "ben", 11, kind="edit", about="b2", mentions=frozenset({"ana"})),
        done(GRANT, "ana", kind="members"),
    ):
        run.begin(each)
    run.logs = {
        ROOM: [
            Entry(1, "members", members=BOTH, roles=FOUNDED),
            Entry(2, "message", "a1", "ana", 1),
            Entry(3, "translation", language="en"),
            Entry(4, "message", "b1", "ben", 2),
            Entry(5, "message", "a2", "ana", 3),
            Entry(6, "edit", "e1", "ana", about="a1"),
            Entry(7, "message", "b2", "ben", 4),
            PUT,
            TAKEN_BACK,
            replace(PUT, rev=10),
            Entry(11, "edit", "e2", "ben", about="b2"),
            Entry(12, "members", GRANT, "ana", members=BOTH, roles=PASSED_ON),
        ]
    }
    run.stays = [
        Stay(ROOM, "ana", "es", None, 1, seen=[Seen(2, "message", "a1"), Seen(4, "message", "b1")]),
        Stay(
            ROOM, "ana", "es", 4, 6,
            seen=[
                Seen(5, "message", "a2"), Seen(6, "edit", "e1"), Seen(7, "message", "b2"),
                Seen(8, "reaction", "put"), Seen(9, "reaction", "take back"),
                Seen(10, "reaction", "put"), Seen(11, "edit", "e2"), Seen(12, "members", GRANT),
            ],
            drained_to=12,
        ),
        Stay(ROOM, "ben", "en", None, 1, seen=[Seen(2, "message", "a1"), Seen(3, "translation")]),
        Stay(ROOM, "ben", "en", 3, 5, seen=[]),
    ]  # fmt: skip
    run.counts = [
        Count(ROOM, "ana", 1, 1, 3, mentions=2, role="admin"),
        Count(ROOM, "ben", 2, 2, 2),
    ]
    run.roles = [Roles(ROOM, "ana", PASSED_ON)]
    run.pages = [Pages(ROOM, "ana", ("a1", "b1", "a2", "b2"), {("b1", "+"): 1})]
    return run


def test_a_correct_history_is_accepted() -> None:
    check(correct())
    assert correct().tally() == {
        "acknowledged": 8,
        "refused": 1,
        "unknown": 1,
        "edit acknowledged": 2,
        "members acknowledged": 1,
        "message acknowledged": 3,
        "reaction acknowledged": 3,
        "joins": 4,
        "received": 12,
    }


def log(*changed: Entry, without: int = 0) -> Callable[[Run], None]:
    """Return a change of the log: other entries at some revisions, or one less."""
    by_rev = {entry.rev: entry for entry in changed}

    def broken(run: Run) -> None:
        entries = [by_rev.pop(entry.rev, entry) for entry in run.logs[ROOM]]
        run.logs = {ROOM: [*(x for x in entries if x.rev != without), *by_rev.values()]}

    return broken


def seen(stay: int, *events: Seen) -> Callable[[Run], None]:
    def broken(run: Run) -> None:
        run.stays[stay].seen = list(events)

    return broken


def early(run: Run) -> None:
    run.operations["b2"].began = 0.5
    run.operations["b2"].ended = 0.6


def elsewhere(run: Run) -> None:
    run.operations["a1"].room = "garden"


def stranger(run: Run) -> None:
    run.stays[2].user = "eve"


def removed(run: Run) -> None:
    """Let ben be removed at 3, and receive what came afterwards."""
    log(Entry(3, "members", members=frozenset({"ana"})))(run)
    run.stays = [
        Stay(
            ROOM, "ben", "en", None, 1,
            seen=[Seen(2, "message", "a1"), Seen(3, "members"), Seen(4, "message", "b1")],
        ),
        Stay(ROOM, "ana", "es", None, 7, drained_to=7),
    ]  # fmt: skip


def added_again(run: Run) -> None:
    """Let ben be removed at 3 and added again at 5: then 4 is not for him."""
    log(
        Entry(3, "members", members=frozenset({"ana"})),
        Entry(5, "members", members=BOTH),
    )(run)
    run.stays = [
        Stay(ROOM, "ana", "es", None, 7, drained_to=7),
        Stay(
            ROOM, "ben", "en", 2, 7,
            seen=[Seen(5, "members"), Seen(6, "edit", "e1"), Seen(7, "message", "b2")],
            drained_to=7,
        ),
    ]  # fmt: skip
    run.counts = [Count(ROOM, "ben", 0, 0, 1)]
    run.pages = [Pages(ROOM, "ana", ("a1", "b1", "b2"))]


def test_who_was_away_lacks_nothing_and_has_nothing_unread_from_meanwhile() -> None:
    run = correct()
    added_again(run)
    assert not list(checks.every_resume_is_complete(run))
    assert not list(checks.counts_equal_a_recount(run))
    assert not list(checks.nothing_forbidden_is_received(run))
    run.stays[1].seen = [Seen(4, "message", "b1"), *run.stays[1].seen]
    assert list(checks.nothing_forbidden_is_received(run))


def test_what_happens_to_a_message_from_before_is_not_for_a_new_member() -> None:
    run = correct()
    added_again(run)
    log(Entry(6, "edit", "e1", "ana", about="a1", about_rev=2))(run)
    assert list(checks.nothing_forbidden_is_received(run))
    run.stays[1].seen = [each for each in run.stays[1].seen if each.kind != "edit"]
    assert not list(checks.nothing_forbidden_is_received(run))
    assert not list(checks.every_resume_is_complete(run))


def test_a_mention_in_a_deleted_message_does_not_count() -> None:
    run = correct()
    log(Entry(6, "delete", "delete b1", "ben", about="b1"))(run)
    assert list(checks.counts_equal_a_recount(run))
    run.counts = [replace(run.counts[0], mentions=1)]
    assert not list(checks.counts_equal_a_recount(run))


def test_the_mentions_of_the_newest_text_count() -> None:
    run = correct()
    run.operations["e2"].mentions = frozenset()
    log(Entry(11, "edit", "e2", "ben", about="b1"))(run)
    assert list(checks.counts_equal_a_recount(run))
    run.counts = [replace(run.counts[0], mentions=0)]
    assert not list(checks.counts_equal_a_recount(run))


def test_reactions_to_a_deleted_message_are_not_read() -> None:
    run = correct()
    log(Entry(11, "delete", "delete b1", "ben", about="b1"))(run)
    assert list(checks.reactions_equal_a_recount(run))
    reactions()(run)
    assert not list(checks.reactions_equal_a_recount(run))


def test_an_operation_is_begun_again() -> None:
    run = Run()
    for _ in range(2):
        run.begin_again(Operation("put", ROOM, "ana", "reaction")).acknowledge(None)
    (made,) = run.operations.values()
    assert (made.begun, made.acknowledged, made.outcome) == (2, 2, Outcome.ACKNOWLEDGED)
    made.again()
    assert (made.begun, made.acknowledged, made.outcome) == (3, 2, Outcome.UNKNOWN)


def misnumbered(run: Run) -> None:
    log(Entry(5, "message", "a2", "ana", 2))(run)


def drained_short(run: Run) -> None:
    run.stays[3].drained_to = 7


def acknowledged_elsewhere(run: Run) -> None:
    run.operations["a1"].rev = 1


def count(**fields: Any) -> Callable[[Run], None]:
    def broken(run: Run) -> None:
        run.counts[0] = replace(run.counts[0], **fields)

    return broken


def pages(*ids: str) -> Callable[[Run], None]:
    def broken(run: Run) -> None:
        run.pages = [replace(run.pages[0], ids=ids)] if ids else []

    return broken


def reactions(**counts: int) -> Callable[[Run], None]:
    """Return a change of the reactions that are read, to b1."""

    def broken(run: Run) -> None:
        read = {("b1", emoji): count for emoji, count in counts.items()}
        run.pages = [replace(run.pages[0], reactions=read)]

    return broken


def members(by: str, **roles: str) -> Callable[[Run], None]:
    """Return a change of the log: who changed which roles at the end."""
    return log(Entry(12, "members", GRANT, by, members=frozenset(roles), roles=roles))


def begun_once(run: Run) -> None:
    run.operations["put"].begun = 1


def former_roles(run: Run) -> None:
    run.roles = [Roles(ROOM, "ana", FOUNDED)]


def unread_by_nobody(run: Run) -> None:
    run.counts = []


def unread_to_the_end(run: Run) -> None:
    run.stays[1].drained_to = None


BROKEN: dict[str, tuple[Callable[[Run], Iterable[str]], Callable[[Run], None]]] = {
    "an acknowledged message was lost": (
        checks.acknowledged_is_stored, log(Entry(2, "message", "ghost", "ana", 1)),
    ),
    "an acknowledgement names another place": (
        checks.acknowledged_is_stored, acknowledged_elsewhere,
    ),
    "a message that nobody sent": (
        checks.stored_was_sent, log(Entry(5, "message", "ghost", "ana", 3)),
    ),
    "a message of another sender": (
        checks.stored_was_sent, log(Entry(5, "message", "a2", "ben", 3)),
    ),
    "a message in another room": (checks.stored_was_sent, elsewhere),
    "an edit of another message": (
        checks.stored_was_sent, log(Entry(6, "edit", "e1", "ana", about="b1")),
    ),
    "a refused message was stored": (
        checks.stored_was_sent, log(Entry(5, "message", "a3", "ana", 3)),
    ),
    "an acknowledged reaction was not put again": (
        checks.acknowledged_is_stored, log(Entry(10, "translation", language="de")),
    ),
    "an acknowledged transfer was lost": (
        checks.acknowledged_is_stored, log(Entry(12, "translation", language="de")),
    ),
    "a reaction stored more often than it was put": (checks.nothing_is_stored_twice, begun_once),
    "a reaction put where it was": (checks.reactions_alternate, log(replace(PUT, rev=9))),
    "a reaction taken back where it was not": (
        checks.reactions_alternate, log(replace(TAKEN_BACK, rev=8)),
    ),
    "a message stored twice": (
        checks.nothing_is_stored_twice, log(Entry(5, "message", "b1", "ben", 3)),
    ),
    "an event vanished from the log": (checks.revisions_have_no_gap, log(without=5)),
    "two events at one revision": (
        checks.revisions_have_no_gap,
        lambda run: run.logs[ROOM].append(Entry(7, "translation")),  # type: ignore[attr-defined]
    ),
    "messages numbered twice": (checks.revisions_have_no_gap, misnumbered),
    "a later message before an earlier one": (checks.later_is_later, early),
    "received what is not stored": (
        checks.received_is_stored, seen(3, Seen(4, "message", "b1"), Seen(8, "message", "b9")),
    ),
    "received in another order": (
        checks.received_is_stored, seen(1, Seen(5, "edit", "e1"), Seen(6, "message", "a2")),
    ),
    "received twice": (
        checks.received_in_order_and_once,
        seen(0, Seen(2, "message", "a1"), Seen(2, "message", "a1"), Seen(4, "message", "b1")),
    ),
    "received again after resuming": (
        checks.received_in_order_and_once, seen(3, Seen(2, "message", "a1")),
    ),
    "a gap in what was received": (
        checks.every_resume_is_complete, seen(0, Seen(4, "message", "b1")),
    ),
    "a translation was not received": (
        checks.every_resume_is_complete,
        seen(2, Seen(2, "message", "a1"), Seen(4, "message", "b1")),
    ),
    "the end was not received": (checks.every_resume_is_complete, drained_short),
    "a stranger received": (checks.nothing_forbidden_is_received, stranger),
    "a removed member received": (checks.nothing_forbidden_is_received, removed),
    "a wrong number of unread messages": (checks.counts_equal_a_recount, count(unread=1)),
    "a wrong number of mentions": (checks.counts_equal_a_recount, count(mentions=0)),
    "a mention by an edit does not count": (checks.counts_equal_a_recount, count(mentions=1)),
    "what was read is unread again": (checks.counts_equal_a_recount, count(acknowledged=4)),
    "a page lacks a message": (checks.pages_are_the_log, pages("a1", "b1", "b2")),
    "a message is on two pages": (checks.pages_are_the_log, pages("a1", "b1", "a2", "a2", "b2")),
    "pages in another order": (checks.pages_are_the_log, pages("a1", "a2", "b1", "b2")),
    "a reaction is not read": (checks.reactions_equal_a_recount, reactions()),
    "a reaction that was taken back is read": (
        checks.reactions_equal_a_recount, reactions(**{"+": 2}),
    ),
    "a member changed a role": (
        checks.changes_of_roles_are_permitted, members("ben", ana="admin", ben="owner"),
    ),
    "two owners": (
        checks.changes_of_roles_are_permitted, members("ana", ana="owner", ben="owner"),
    ),
    "no owner": (
        checks.changes_of_roles_are_permitted, members("ana", ana="admin", ben="admin"),
    ),
    "a member added another": (
        checks.changes_of_roles_are_permitted,
        members("ben", ana="owner", ben="member", eve="member"),
    ),
    "former roles are read": (checks.roles_are_those_of_the_log, former_roles),
    "a former role in the list of rooms": (checks.roles_are_those_of_the_log, count(role="owner")),
    "nobody read the roles": (
        checks.something_was_checked, lambda run: run.roles.clear(),
    ),
    "nobody paged": (checks.something_was_checked, pages()),
    "nobody counted": (checks.something_was_checked, unread_by_nobody),
    "nobody read to the end": (checks.something_was_checked, unread_to_the_end),
    "the log was not read": (
        checks.something_was_checked, lambda run: setattr(run, "logs", {}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_history_is_detected_by_its_check(what: str) -> None:
    run = correct()
    responsible, broken = BROKEN[what]
    assert not list(responsible(run))
    broken(run)
    assert list(responsible(run))
    with pytest.raises(ViolationsError):
        check(run)


def test_every_check_is_tried() -> None:
    assert {responsible for responsible, _ in BROKEN.values()} == set(checks.CHECKS)


def test_an_id_is_used_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        correct().begin(operation("a1", "ana", None))


def test_a_refusal_after_an_acknowledgement_changes_nothing() -> None:
    made = operation("a1", "ana", 2)
    made.refuse()
    assert made.outcome is Outcome.ACKNOWLEDGED


def test_a_late_translation_is_not_awaited_by_a_member_who_was_added_again() -> None:
    log = [
        Entry(1, "members", members=BOTH),
        Entry(2, "message", "m2", "ana", 1),
        Entry(3, "members", members=BOTH - {"ben"}),
        Entry(4, "members", members=BOTH),
        Entry(5, "message", "m5", "ana", 2),
        Entry(6, "translation", about_rev=5, language="en"),
        Entry(7, "translation", about_rev=5, language="es"),
        Entry(8, "translation", about_rev=2, language="en"),
    ]
    assert [entry.rev for entry in checks.shown(log, "ben", "en", 8)] == [5, 6]
    assert [entry.rev for entry in checks.shown(log, "ana", "en", 8)] == [2, 3, 4, 5, 6, 8]
