"""Credentials are generated once, lost ones are regenerated, and all others are left alone."""

import base64
import json
from collections.abc import Callable
from itertools import count

import jwt
import pytest

from ashchat_core.topology import Service
from ashchat_operator.backends.base import Backend
from ashchat_operator.credentials.at_rest import AtRestKeyRing, fingerprint
from ashchat_operator.credentials.at_rest import new_key as new_ring_key
from ashchat_operator.credentials.bundle import (
    Credentials,
    Generators,
    Inputs,
    complete,
    key_ring_copy_secret,
    key_ring_secret,
    logins_secret,
    secret_names,
    service_secret,
    signing_keys_copy_secret,
    signing_keys_secret,
)
from ashchat_operator.credentials.signing_keys import (
    NotASigningKeyError,
    SigningKeySet,
    new_key,
    public_jwk,
)
from ashchat_operator.render import platform
from operator_rendering import CONTEXT, fixed_key, resource

ASH = resource("minimal")


def numbered() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"generated-{next(numbers)}"


def stored(credentials: Credentials) -> dict[str, dict[str, bytes]]:
    """Return the Secrets as the cluster would store them."""
    return {
        item["metadata"]["name"]: {
            key: base64.b64decode(value) for key, value in item["data"].items()
        }
        for item in platform.render(ASH, CONTEXT, credentials)
        if item["kind"] == "Secret"
    }


def test_stored_credentials_are_reused() -> None:
    first = complete(ASH, {}, generators=Generators(password=numbered()))

    def never() -> str:
        raise AssertionError("nothing is missing")

    again = complete(ASH, stored(first), generators=Generators(never, lambda: b"", never))
    assert again == first


def test_every_secret_with_credentials_is_retained() -> None:
    first = complete(ASH, {}, generators=Generators(password=numbered()))
    assert set(secret_names(ASH)) <= set(stored(first))


RING, COPY = key_ring_secret(ASH), key_ring_copy_secret(ASH)
KEPT_TWICE = {
    *(service_secret(ASH, service) for service in Service if service is not Service.EMAIL),
    logins_secret(ASH),
    signing_keys_secret(ASH),
    signing_keys_copy_secret(ASH),
}
"""Secrets that are restored unchanged; email's has a separate key, which is regenerated."""

REPLACEABLE = sorted(set(secret_names(ASH)) - {RING, COPY})


@pytest.mark.parametrize("name", REPLACEABLE)
def test_a_lost_secret_is_recreated_and_the_others_stay(name: str) -> None:
    first = complete(ASH, {}, generators=Generators(password=numbered()))
    held = stored(first)
    del held[name]
    again = stored(complete(ASH, held, generators=Generators()))
    assert (again[name] == stored(first)[name]) == (name in KEPT_TWICE)
    others = set(secret_names(ASH)) - {name}
    assert {key: again[key] for key in others} == {key: held[key] for key in others}


def test_a_lost_key_is_regenerated_and_the_others_stay() -> None:
    first = complete(ASH, {}, generators=Generators(password=numbered()))
    held = stored(first)
    del held["small-email-credentials"]["code.key"]
    again = complete(ASH, held, generators=Generators(password=lambda: "new"))
    assert again.code_key == "new"
    assert again.logins == first.logins


def test_an_edited_password_is_the_new_password() -> None:
    held = stored(complete(ASH, {}, generators=Generators(password=numbered())))
    held["small-chat-credentials"]["password"] = b"chosen"
    held["small-chat-credentials"]["rabbitmq.uri"] = b"amqp://nonsense"
    again = complete(ASH, held)
    assert again.logins[Service.CHAT].password == "chosen"
    assert b"chat-a:chosen@" in stored(again)["small-chat-credentials"]["rabbitmq.uri"]


def test_passwords_need_no_quoting_and_differ() -> None:
    made = {Generators().password() for _ in range(10)}
    assert len(made) == 10
    assert all(word.isalnum() and len(word) == 64 for word in made)


def test_repr_shows_no_credential() -> None:
    text = repr(complete(ASH, {}, generators=Generators(password=lambda: "hush")))
    assert "hush" not in text
    assert "PRIVATE" not in text


def test_an_admins_revision_changes_with_the_password_without_revealing_it() -> None:
    one = complete(ASH, {}, generators=Generators(password=lambda: "one")).admins[Backend.REDIS]
    two = complete(ASH, {}, generators=Generators(password=lambda: "two")).admins[Backend.REDIS]
    assert one.revision != two.revision
    assert "one" not in one.revision


def test_the_key_ring_retains_its_keys_and_drops_invalid_ones() -> None:
    kid = public_jwk(fixed_key())["kid"]
    ring = SigningKeySet.complete({f"{kid}.pem": fixed_key(), "x.pem": b"nonsense", "active": b"x"})
    assert set(ring.keys) == {kid}
    assert ring.active == kid


def test_a_token_signed_by_the_ring_verifies_by_its_jwks() -> None:
    ring = SigningKeySet.complete({})
    token = jwt.encode(
        {"sub": "a"}, ring.keys[ring.active], algorithm="ES256", headers={"kid": ring.active}
    )
    jwks = jwt.PyJWKSet.from_json(ring.jwks())
    assert jwt.decode(token, jwks[ring.active], algorithms=["ES256"]) == {"sub": "a"}
    assert "d" not in json.loads(ring.jwks())["keys"][0]


def test_a_key_of_another_kind_is_rejected() -> None:
    with pytest.raises(NotASigningKeyError):
        public_jwk(b"-----BEGIN NONSENSE-----")
    assert public_jwk(new_key())["crv"] == "P-256"


def known(credentials: Credentials) -> dict[str, str]:
    """Return the fingerprints of a ring that the status stores."""
    return credentials.key_ring.fingerprints({})


@pytest.mark.parametrize("lost", [RING, COPY])
def test_a_ring_is_restored_from_its_copy_and_never_regenerated(lost: str) -> None:
    first = complete(ASH, {})
    held = stored(first)
    assert held[RING] == held[COPY]
    del held[lost]
    for fingerprints in ({}, known(first)):
        again = complete(ASH, held, inputs=Inputs(known_ring=fingerprints))
        assert again.key_ring == first.key_ring
        assert stored(again)[lost] == stored(first)[lost]


def test_a_ring_lost_with_its_copy_is_reported_and_not_regenerated() -> None:
    first = complete(ASH, {})
    held = stored(first)
    del held[RING], held[COPY]
    again = complete(ASH, held, inputs=Inputs(known_ring=known(first)))
    assert again.key_ring.lost == ("1",)
    assert not {RING, COPY} & set(stored(again))
    assert again.key_ring.fingerprints(known(first)) == known(first), "the status remembers"
    restored = complete(
        ASH, {**held, COPY: stored(first)[COPY]}, inputs=Inputs(known_ring=known(first))
    )
    assert restored.key_ring == first.key_ring


def test_a_key_that_does_not_match_the_status_is_restored_from_the_copy() -> None:
    first = complete(ASH, {})
    held = stored(first)
    held[RING] = {**held[RING], "1.key": new_ring_key().encode()}
    assert complete(ASH, held, inputs=Inputs(known_ring=known(first))).key_ring == first.key_ring
    held[COPY] = held[RING]
    assert complete(ASH, held, inputs=Inputs(known_ring=known(first))).key_ring.lost == ("1",)


def test_an_added_key_is_accepted_and_may_become_active() -> None:
    first = complete(ASH, {})
    held = stored(first)
    held[RING] = {**held[RING], "2.key": new_ring_key().encode(), "active": b"2"}
    again = complete(ASH, held, inputs=Inputs(known_ring=known(first)))
    assert (set(again.key_ring.keys), again.key_ring.active) == ({"1", "2"}, "2")
    assert stored(again)[COPY] == stored(again)[RING]


def test_files_that_are_not_keys_of_the_ring_are_ignored() -> None:
    ring = AtRestKeyRing.complete(
        {"1.key": b"00", "x.key": b"nonsense", ".key": b"00" * 32, "active": b"7"}, {}, {}
    )
    assert list(ring.keys) == ["1"]
    assert ring.active == "1"
    assert len(bytes.fromhex(ring.keys["1"])) == 32
    assert fingerprint(ring.keys["1"]) not in ring.keys["1"]
    assert ring.keys["1"] not in repr(ring)
