"""Which user-provided credentials are used: those that work; and what is reported of the others."""

from dataclasses import replace
from typing import Any

import pytest

from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service
from ashchat_operator.credentials.candidates import (
    Candidate,
    Pair,
    ProvidedSecret,
    Verdict,
    condition,
    decide,
    untried,
    wanted,
)
from ashchat_operator.credentials.provided import KINDS
from ashchat_operator.credentials.provided.google import GoogleCredential
from ashchat_operator.credentials.provided.smtp import SmtpCredential
from operator_rendering import PROVIDED, resource

SERVER = "tls://mail.example.org:465"
REFUSED = Verdict(Reason.LOGIN_REFUSED, "the login is refused")
FINE = Verdict(Reason.ACCEPTED, "the login is taken")


def login(word: str, revision: str = "1", by: str = "") -> ProvidedSecret:
    data = {"username": b"u", "password": word.encode()}
    return ProvidedSecret(data, revision, by)


def candidate(pair: Pair | None, **changes: Any) -> Candidate:
    made = Candidate("smtp", Service.EMAIL, SERVER, "mail-login", pair)
    return replace(made, **changes)


NOTHING = Pair()
WORKS = Pair(login("old", by=SERVER))


def test_what_is_new_is_tried_before_it_is_used() -> None:
    new = candidate(Pair(login("new")))
    assert untried(new, WORKS)
    found = decide(new, WORKS, None)
    assert found.use == WORKS
    assert found.reason is Reason.TRYING
    assert not found.blocking


def test_what_is_accepted_is_used_and_by_whom_is_remembered() -> None:
    found = decide(candidate(Pair(login("new", "2"))), WORKS, FINE)
    assert found.use is not None
    assert found.use.login == login("new", "2", SERVER)
    assert found.accepted


def test_what_is_refused_changes_nothing() -> None:
    found = decide(candidate(Pair(login("wrong"))), WORKS, REFUSED)
    assert found.use == WORKS
    assert not found.accepted
    assert not found.blocking, "what worked still does"
    assert "stays in use" in found.message
    assert "wrong" not in found.message


def test_where_nothing_works_it_is_said_that_it_blocks() -> None:
    found = decide(candidate(Pair(login("wrong"))), NOTHING, REFUSED)
    assert found.blocking
    assert found.use == Pair(login("wrong")), "pods need their files to start"


def test_what_was_accepted_is_not_tried_again_by_whichever_operator() -> None:
    same = candidate(Pair(login("old", "touched")))
    assert not untried(same, WORKS)
    found = decide(same, WORKS, None)
    assert found.accepted
    assert found.use == WORKS, "a Secret that was only touched changes nothing"


def test_another_server_has_yet_to_accept_it() -> None:
    moved = candidate(Pair(login("old")), server="tls://other.example.org:465")
    assert untried(moved, WORKS)
    assert decide(moved, WORKS, REFUSED).blocking, "what worked there does not work here"


def test_a_secret_that_is_gone_leaves_what_worked() -> None:
    gone = candidate(None, missing="make the Secret mail-login")
    assert not untried(gone, WORKS)
    found = decide(gone, WORKS, None)
    assert (found.use, found.reason) == (WORKS, Reason.SECRET_MISSING)
    assert not found.blocking
    assert decide(gone, NOTHING, None).blocking


def test_what_a_service_secret_holds_is_read_back() -> None:
    files = {
        "smtp.username": b"u",
        "smtp.password": b"old",
        "smtp.revision": b"1",
        "smtp.accepted-by": SERVER.encode(),
    }
    assert SmtpCredential().held(files) == WORKS
    assert SmtpCredential().held({}) == NOTHING
    assert GoogleCredential().held(files) == NOTHING


@pytest.mark.parametrize("name", sorted(KINDS))
def test_what_is_stored_is_read_back(name: str) -> None:
    pair = PROVIDED[name].accepted("server")
    found = KINDS[name].held(KINDS[name].stored(pair))
    assert found.same(pair)
    assert found.accepted_by == "server"
    assert found.login is not None
    assert pair.login is not None
    assert found.login.revision == pair.login.revision


@pytest.mark.parametrize(
    ("verdict", "waits", "said"),
    [
        (None, "", ("Unknown", "Trying")),
        (REFUSED, "", ("False", "LoginRefused")),
        (FINE, "waits for email-1 to change over", ("True", "Distributing")),
        (FINE, "", ("True", "InUse")),
    ],
)
def test_the_condition_says_how_it_stands(
    verdict: Verdict | None, waits: str, said: tuple[str, str]
) -> None:
    decisions = {"smtp": decide(candidate(Pair(login("new"))), WORKS, verdict)}
    found = condition(decisions, waits)
    assert found is not None
    assert found[:2] == said


def test_of_several_the_one_that_fails_is_told_first() -> None:
    smtp = decide(candidate(Pair(login("new"))), WORKS, None)
    google = decide(
        candidate(Pair(login("x")), kind="google", service=Service.TRANSLATE),
        NOTHING,
        REFUSED,
    )
    found = condition({"smtp": smtp, "google": google})
    assert found is not None
    assert found[1] == "LoginRefused"
    assert condition({}) is None


def test_pods_are_to_report_the_revision_of_what_is_used() -> None:
    decisions = {"smtp": decide(candidate(Pair(login("new", "7"))), WORKS, FINE)}
    assert wanted(decisions) == {"email": {"smtp": "7"}}


def test_a_resource_names_its_user_provided_credentials() -> None:
    everything, minimal = resource("everything").spec, resource("minimal").spec
    assert all(kind.references(everything) for kind in KINDS.values())
    assert SmtpCredential().references(everything).names == "mail-login and mail-ca"
    assert not any(kind.references(minimal) for kind in KINDS.values())


def test_the_server_is_named_as_text() -> None:
    everything = resource("everything").spec
    assert SmtpCredential().server(everything).startswith(("starttls://", "tls://"))
    assert GoogleCredential().server(everything).endswith("/locations/global")
