"""Only user-provided credentials that work are used; problems with the others are reported."""

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


def test_new_credentials_are_tried_before_they_are_used() -> None:
    new = candidate(Pair(login("new")))
    assert untried(new, WORKS)
    found = decide(new, WORKS, None)
    assert found.use == WORKS
    assert found.reason is Reason.TRYING
    assert not found.blocking


def test_accepted_credentials_are_used_with_the_server_that_accepted_them() -> None:
    found = decide(candidate(Pair(login("new", "2"))), WORKS, FINE)
    assert found.use is not None
    assert found.use.login == login("new", "2", SERVER)
    assert found.accepted


def test_rejected_credentials_change_nothing() -> None:
    found = decide(candidate(Pair(login("wrong"))), WORKS, REFUSED)
    assert found.use == WORKS
    assert not found.accepted
    assert not found.blocking, "what worked still does"
    assert "stays in use" in found.message
    assert "wrong" not in found.message


def test_without_working_credentials_the_component_is_blocked() -> None:
    found = decide(candidate(Pair(login("wrong"))), NOTHING, REFUSED)
    assert found.blocking
    assert found.use == Pair(login("wrong")), "pods need their files to start"


def test_accepted_credentials_are_not_tried_again_after_an_operator_restart() -> None:
    same = candidate(Pair(login("old", "touched")))
    assert not untried(same, WORKS)
    found = decide(same, WORKS, None)
    assert found.accepted
    assert found.use == WORKS, "an edit that leaves the credentials unchanged has no effect"


def test_another_server_must_accept_the_credentials_again() -> None:
    moved = candidate(Pair(login("old")), server="tls://other.example.org:465")
    assert untried(moved, WORKS)
    assert decide(moved, WORKS, REFUSED).blocking, "what worked there does not work here"


def test_a_deleted_secret_leaves_the_working_credentials_in_use() -> None:
    gone = candidate(None, missing="make the Secret mail-login")
    assert not untried(gone, WORKS)
    found = decide(gone, WORKS, None)
    assert (found.use, found.reason) == (WORKS, Reason.SECRET_MISSING)
    assert not found.blocking
    assert decide(gone, NOTHING, None).blocking


def test_the_credentials_in_a_service_secret_are_read_back() -> None:
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
def test_stored_credentials_are_read_back(name: str) -> None:
    pair = PROVIDED[name].accepted("server")
    found = KINDS[name].held(KINDS[name].stored(pair))
    assert found.same(pair)
    assert found.accepted_by == "server"
    assert found.login is not None
    assert pair.login is not None
    assert found.login.revision == pair.login.revision


@pytest.mark.parametrize(
    ("verdict", "waits", "expected"),
    [
        (None, "", ("Unknown", "Trying")),
        (REFUSED, "", ("False", "LoginRefused")),
        (FINE, "waits for email-1 to change over", ("True", "Distributing")),
        (FINE, "", ("True", "InUse")),
    ],
)
def test_the_condition_reports_the_progress(
    verdict: Verdict | None, waits: str, expected: tuple[str, str]
) -> None:
    decisions = {"smtp": decide(candidate(Pair(login("new"))), WORKS, verdict)}
    found = condition(decisions, waits)
    assert found is not None
    assert found[:2] == expected


def test_failing_credentials_are_reported_first() -> None:
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


def test_pods_must_report_the_revision_in_use() -> None:
    decisions = {"smtp": decide(candidate(Pair(login("new", "7"))), WORKS, FINE)}
    assert wanted(decisions) == {"email": {"smtp": "7"}}


def test_a_resource_references_its_user_provided_credentials() -> None:
    everything, minimal = resource("everything").spec, resource("minimal").spec
    assert all(kind.references(everything) for kind in KINDS.values())
    assert SmtpCredential().references(everything).names == "mail-login and mail-ca"
    assert not any(kind.references(minimal) for kind in KINDS.values())


def test_the_server_is_identified_by_its_url() -> None:
    everything = resource("everything").spec
    assert SmtpCredential().server(everything).startswith(("starttls://", "tls://"))
    assert GoogleCredential().server(everything).endswith("/locations/global")
