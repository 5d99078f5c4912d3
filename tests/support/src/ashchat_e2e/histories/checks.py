"""What a correct chat never does. Each check returns the violations that it finds."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from ashchat_e2e.histories.records import (
    DELETE,
    EDIT,
    MESSAGE,
    REACTION,
    Count,
    Entry,
    Operation,
    Outcome,
    Run,
    Stay,
)
from ashchat_e2e.history import ViolationsError

OWNER: Final = "owner"
MANAGING: Final = frozenset({OWNER, "admin"})
Check = Callable[[Run], Iterable[str]]


def check(run: Run) -> None:
    """Check everything.

    Raises:
        ViolationsError: A correct chat cannot have this history.
    """
    found = [violation for each in CHECKS for violation in each(run)]
    if found:
        raise ViolationsError(found)


def acknowledged_is_stored(run: Run) -> Iterator[str]:
    """What was acknowledged is in the log, where the acknowledgement says."""
    places: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
    for room, log in run.logs.items():
        for entry in log:
            places[room, entry.id].append(entry.rev)
    for operation in run.operations.values():
        at = places[operation.room, operation.id]
        if len(at) < operation.acknowledged:
            yield (
                f"{operation.id} was acknowledged {operation.acknowledged} times, and "
                f"{operation.room} has it {len(at)} times"
            )
        elif operation.rev is not None and operation.rev not in at:
            yield f"{operation.id} was acknowledged at {operation.rev}, and is at {at}"


def stored_was_sent(run: Run) -> Iterator[str]:
    """What is in the log was sent there, by that user, as that kind, and was not refused."""
    for room, log in run.logs.items():
        for entry in log:
            if entry.id is None:
                continue
            operation = run.operations.get(entry.id)
            where = f"{room} has {entry.id} at {entry.rev}"
            if operation is None:
                yield f"{where}, which nobody sent"
            elif (operation.room, operation.user) != (room, entry.sender):
                yield f"{where}, which {operation.user} sent to {operation.room}"
            elif (operation.kind, operation.about) != (entry.kind, entry.about):
                yield f"{where} as {entry.kind} of {entry.about}, not as it was sent"
            elif operation.outcome is Outcome.REFUSED:
                yield f"{where}, which was refused"


def nothing_is_stored_twice(run: Run) -> Iterator[str]:
    """No operation is in the log twice, or more often than the client began it."""
    for room, log in run.logs.items():
        counts = Counter(entry.id for entry in log if entry.id is not None)
        for key, n in counts.items():
            begun = run.operations[key].begun if key in run.operations else 1
            if n > begun:
                yield f"{room} has {key} {n} times, and it was begun {begun} times"


def reactions_alternate(run: Run) -> Iterator[str]:
    """A user's emoji is put on a message before it is taken back, and taken back before again."""
    for room, log in run.logs.items():
        put: set[tuple[str | None, str | None, str | None]] = set()
        for entry in log:
            own = entry.about, entry.sender, entry.emoji
            if entry.kind != REACTION:
                continue
            if entry.on is (own in put):
                yield f"{room} has {entry.id} at {entry.rev}, where it was so already"
            put ^= {own}


def revisions_have_no_gap(run: Run) -> Iterator[str]:
    """The log's revisions are 1, 2, 3 …, and so are the ordinals of its messages."""
    for room, log in run.logs.items():
        revs = [entry.rev for entry in log]
        if revs != list(range(1, len(revs) + 1)):
            yield f"the revisions of {room} are not contiguous: {_oddity(revs)}"
        ordinals = [entry.n for entry in log if entry.kind == MESSAGE and entry.n is not None]
        if ordinals != list(range(1, len(ordinals) + 1)):
            yield f"the messages of {room} are not numbered contiguously: {_oddity(ordinals)}"


def later_is_later(run: Run) -> Iterator[str]:
    """What began after another's acknowledgement has a later place in the log."""
    rooms: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in run.operations.values():
        if operation.rev is not None:
            rooms[operation.room].append(operation)
    for room, operations in rooms.items():
        earliest: Operation | None = None
        for operation in sorted(operations, key=lambda each: -(each.rev or 0)):
            if earliest is not None and _ended(earliest) < operation.began:
                yield (
                    f"in {room} {operation.id} is at {operation.rev}, before {earliest.id} at "
                    f"{earliest.rev}, which was acknowledged before it began"
                )
            if earliest is None or _ended(operation) < _ended(earliest):
                earliest = operation


def received_is_stored(run: Run) -> Iterator[str]:
    """What a client receives is what the log has at that place: one order for all."""
    for stay in run.stays:
        log = {entry.rev: entry for entry in _log(run, stay.room)}
        for seen in stay.seen:
            entry = log.get(seen.rev)
            if entry is None:
                yield f"{_who(stay)} received {seen.id} at {seen.rev}, which is not in the log"
            elif (entry.kind, entry.id) != (seen.kind, seen.id):
                yield (
                    f"{_who(stay)} received {seen.kind} {seen.id} at {seen.rev}, where the log "
                    f"has {entry.kind} {entry.id}"
                )


def received_in_order_and_once(run: Run) -> Iterator[str]:
    """On one join, revisions ascend, and none is from before the resumption."""
    for stay in run.stays:
        start = [] if stay.since is None else [stay.since]
        for earlier, later in pairwise([*start, *(seen.rev for seen in stay.seen)]):
            if later <= earlier:
                yield f"{_who(stay)} received {later} after {earlier}"


def every_resume_is_complete(run: Run) -> Iterator[str]:
    """Between the resumption and the last event received, nothing that is for the client lacks."""
    for stay in run.stays:
        log = _log(run, stay.room)
        last = max([stay.drained_to or 0, *(seen.rev for seen in stay.seen)])
        start = stay.head if stay.since is None or stay.reset else stay.since
        received = {seen.rev for seen in stay.seen}
        for entry in shown(log, stay.user, stay.language, last):
            if start < entry.rev and entry.rev not in received:
                yield f"{_who(stay)} lacks {entry.kind} {entry.id} at {entry.rev}"


def nothing_forbidden_is_received(run: Run) -> Iterator[str]:
    """Nobody receives an event of a room that they were not a member of, but their own removal.

    Nor an event about a message from before they became a member.
    """
    for stay in run.stays:
        allowed = set()
        joined: int | None = None
        for entry, members in _with_members(_log(run, stay.room)):
            removed = joined is not None and stay.user not in members
            if joined is None and stay.user in members:
                joined = entry.rev
            if joined is not None and (entry.about_rev or entry.rev) >= joined:
                allowed.add(entry.rev)
            if removed:
                joined = None
        for seen in stay.seen:
            if seen.rev not in allowed:
                yield f"{_who(stay)} received {seen.kind} {seen.id}, which is not for them"


def counts_equal_a_recount(run: Run) -> Iterator[str]:
    """Unread messages and mentions are those after the message that was read last."""
    for count in run.counts:
        log = _log(run, count.room)
        joined = _joined(log, count.user, log[-1].rev if log else 0)
        entries = [
            entry
            for entry in log
            if entry.kind == MESSAGE and entry.rev > joined and (entry.n or 0) > count.read
        ]
        who = f"{count.user} in {count.room}"
        if count.read < count.acknowledged:
            yield f"{who} has read {count.acknowledged}, and the service says {count.read}"
        if count.unread != len(entries):
            yield f"{who} has {len(entries)} unread messages, and the service says {count.unread}"
        deleted = _deleted(log)
        newest = {entry.about: entry.id for entry in log if entry.kind == EDIT}
        mentions = sum(
            _mentioned(run, newest.get(entry.id, entry.id), count)
            for entry in entries
            if entry.id not in deleted
        )
        if count.mentions is not None and count.mentions != mentions:
            yield f"{who} has {mentions} mentions, and the service says {count.mentions}"


def pages_are_the_log(run: Run) -> Iterator[str]:
    """What a member reads page by page are the messages of the log, in its order."""
    for pages in run.pages:
        stored = tuple(entry.id for entry in _log(run, pages.room) if entry.kind == MESSAGE)
        if pages.ids == stored:
            continue
        who = f"{pages.user} in {pages.room}"
        lacking = [key for key in stored if key not in set(pages.ids)]
        if lacking or len(pages.ids) != len(stored):
            yield f"{who} reads {len(pages.ids)} of {len(stored)} messages, lacking {lacking[:5]}"
        else:
            yield f"{who} reads the messages in another order"


def reactions_equal_a_recount(run: Run) -> Iterator[str]:
    """What a member reads of the reactions to messages is what the log has put and not back."""
    for pages in run.pages:
        log = _log(run, pages.room)
        deleted = _deleted(log)
        put: Counter[tuple[str, str]] = Counter()
        for entry in log:
            if entry.kind == REACTION and entry.about not in deleted:
                put[entry.about or "", entry.emoji or ""] += 1 if entry.on else -1
        if +put != +Counter(pages.reactions):
            who = f"{pages.user} in {pages.room}"
            differing = sorted((+put - Counter(pages.reactions)) | (Counter(pages.reactions) - put))
            yield f"{who} reads other reactions than the log has, to {differing[:5]}"


def changes_of_roles_are_permitted(run: Run) -> Iterator[str]:
    """Only the owner changes roles, of whom there is one; only owner and admins change members."""
    for room, log in run.logs.items():
        before: Mapping[str, str] = {}
        for entry in log:
            if entry.roles is None:
                continue
            where = f"{room} at {entry.rev}"
            owners = [user for user, role in entry.roles.items() if role == OWNER]
            if OWNER in before.values() and len(owners) != 1:
                yield f"{where} has the owners {owners}"
            own = before.get(entry.sender or "")
            for user in before.keys() & entry.roles.keys():
                if before[user] != entry.roles[user] and own != OWNER:
                    yield f"{where}: {entry.sender} ({own}) changed the role of {user}"
            for user in before.keys() ^ entry.roles.keys() if before else ():
                if own not in MANAGING and user != entry.sender:
                    yield f"{where}: {entry.sender} ({own}) added or removed {user}"
            before = entry.roles


def roles_are_those_of_the_log(run: Run) -> Iterator[str]:
    """Members read the roles that the log has, and their own one in the list of rooms."""
    current = {
        room: next((entry.roles for entry in reversed(log) if entry.roles is not None), {})
        for room, log in run.logs.items()
    }
    for one in run.roles:
        stored = current.get(one.room, {})
        if one.roles != stored:
            yield f"{one.user} in {one.room} reads the roles {one.roles}, the log has {stored}"
    for count in run.counts:
        role = current.get(count.room, {}).get(count.user)
        if count.role not in {None, role}:
            yield f"{count.user} in {count.room} is {role}, and the service says {count.role}"


def something_was_checked(run: Run) -> Iterator[str]:
    """A room that nobody read to its end, counted in or paged through proves nothing."""
    rooms = {operation.room for operation in run.operations.values()}
    for room in sorted(rooms - {stay.room for stay in run.stays if stay.drained_to}):
        yield f"nobody has read {room} to its end"
    for room in sorted(rooms - {count.room for count in run.counts}):
        yield f"nobody counted in {room}"
    for room in sorted(rooms - {pages.room for pages in run.pages}):
        yield f"nobody paged through {room}"
    for room in sorted(rooms - {one.room for one in run.roles}):
        yield f"nobody read the roles in {room}"
    for room in sorted(rooms - run.logs.keys()):
        yield f"the log of {room} was not read"


CHECKS: Final[tuple[Check, ...]] = (
    acknowledged_is_stored,
    stored_was_sent,
    nothing_is_stored_twice,
    reactions_alternate,
    revisions_have_no_gap,
    later_is_later,
    received_is_stored,
    received_in_order_and_once,
    every_resume_is_complete,
    nothing_forbidden_is_received,
    counts_equal_a_recount,
    pages_are_the_log,
    reactions_equal_a_recount,
    changes_of_roles_are_permitted,
    roles_are_those_of_the_log,
    something_was_checked,
)


def _log(run: Run, room: str) -> Sequence[Entry]:
    return run.logs.get(room, ())


def _with_members(log: Sequence[Entry]) -> Iterator[tuple[Entry, frozenset[str]]]:
    """Yield each entry with the members of the room from it on."""
    members: frozenset[str] = frozenset()
    for entry in log:
        members = members if entry.members is None else entry.members
        yield entry, members


def shown(log: Sequence[Entry], user: str, language: str, until: int) -> list[Entry]:
    """Return the events that a member is shown, up to a revision.

    A member who was removed and added again is not shown what happened in between, nor what
    happens to messages from before, such as a translation that is late.
    """
    joined = _joined(log, user, until)
    return [
        entry
        for entry, members in _with_members(log)
        if joined < entry.rev <= until
        and user in members
        and (entry.about_rev is None or entry.about_rev > joined)
        and _is_for(entry, language)
    ]


def _joined(log: Sequence[Entry], user: str, until: int) -> int:
    """Return the revision at which a user became a member for the last time; 0: never."""
    joined, before = 0, False
    for entry, members in _with_members(log):
        if entry.rev > until:
            break
        if user in members and not before:
            joined = entry.rev
        before = user in members
    return joined


def _is_for(entry: Entry, language: str) -> bool:
    return entry.language is None or entry.language == language


def _deleted(log: Sequence[Entry]) -> set[str | None]:
    """Return the ids of the deleted messages."""
    return {entry.about for entry in log if entry.kind == DELETE}


def _mentioned(run: Run, key: str | None, count: Count) -> bool:
    """Return whether the text that an operation wrote mentions a user."""
    operation = run.operations.get(key or "")
    return operation is not None and count.user in operation.mentions


def _ended(operation: Operation) -> float:
    return float("inf") if operation.ended is None else operation.ended


def _who(stay: Stay) -> str:
    return f"{stay.user} in {stay.room} (since {stay.since})"


def _oddity(numbers: Sequence[int]) -> str:
    """Return the first place where numbers do not count from 1."""
    for place, number in enumerate(numbers, 1):
        if number != place:
            return f"{number} instead of {place}"
    return "none"
