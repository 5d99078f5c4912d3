import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from ashchat_auth.keys import SigningKeys
from ashchat_auth.models import Purpose, Temporary
from ashchat_core import tokens
from ashchat_core.clocks import CLOCK_SKEW_SECONDS
from ashchat_core.tokens import SOCKET_TICKET_SECONDS, InvalidTokenError, TokenVerifier
from auth_world import add_signing_key

SAYS = Temporary(purpose=Purpose.TOTP, subject="u", challenge_id="c", device_hash="d", epoch=3)


@pytest.fixture
def signer(tmp_path: Path) -> SigningKeys:
    keys = tmp_path / "keys"
    add_signing_key(keys, "one")
    return SigningKeys(keys, issuer="ashchat-auth-service", audience="ashchat", minutes=20)


@pytest.fixture
def verifier(tmp_path: Path, signer: SigningKeys) -> TokenVerifier:
    publish(tmp_path, signer)
    return TokenVerifier(tmp_path / "jwks.json", issuer="ashchat-auth-service", audience="ashchat")


def publish(tmp_path: Path, signer: SigningKeys) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps(signer.jwks()))


def now() -> datetime:
    return datetime.now(UTC)


def access(signer: SigningKeys, at: datetime | None = None) -> str:
    return signer.access(user_id="u", session_id="s", epoch=2, device_hash="d", now=at or now())


def private_key(tmp_path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key((tmp_path / "keys" / "one.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def forge(tmp_path: Path, headers: dict[str, Any] | None = None, **claims: object) -> str:
    """A token signed with our own key, but saying something else."""
    key = private_key(tmp_path)
    body = {
        "iss": "ashchat-auth-service",
        "aud": "ashchat",
        "sub": "u",
        "sid": "s",
        "epoch": 2,
        "dev": "d",
        "type": "MAIN",
        "jti": "j",
        "iat": now(),
        "nbf": now(),
        "exp": now() + timedelta(hours=2),
        **claims,
    }
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(
        body, key, algorithm="ES256", headers={"kid": "one", "typ": "at+jwt", **(headers or {})}
    )


def test_a_token_says_who_and_which_device(signer: SigningKeys, verifier: TokenVerifier) -> None:
    token = verifier.verify(access(signer))
    assert (token.user_id, token.session_id, token.device_hash) == ("u", "s", "d")
    assert token.epoch == 2


def test_an_expired_token_is_refused(signer: SigningKeys, verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidTokenError) as refused:
        verifier.verify(access(signer, now() - timedelta(minutes=21)))
    assert refused.value.reason == "expired"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "another"}, "invalid"),
        ({"aud": "other"}, "invalid"),
        ({"aud": ["ashchat", "other"]}, "invalid"),
        ({"sid": None}, "invalid"),
        ({"epoch": None}, "invalid"),
        ({"epoch": "2"}, "wrong_type"),
        ({"type": "TEMPORARY"}, "wrong_type"),
        ({"dev": None}, "wrong_type"),
        ({"nbf": datetime(2100, 1, 1, tzinfo=UTC)}, "invalid"),
    ],
)
def test_a_claim_that_is_wrong_is_refused(
    tmp_path: Path, verifier: TokenVerifier, claims: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidTokenError) as refused:
        verifier.verify(forge(tmp_path, **claims))
    assert refused.value.reason == reason


def test_another_type_of_token_is_refused(tmp_path: Path, verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidTokenError) as refused:
        verifier.verify(forge(tmp_path, {"typ": "JWT"}))
    assert refused.value.reason == "wrong_type"


def test_another_algorithm_is_refused(tmp_path: Path, verifier: TokenVerifier) -> None:
    headers = {"kid": "one", "typ": "at+jwt"}
    # The classic: the public key, which everybody has, taken for a shared secret.
    public = private_key(tmp_path).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    shared = jwt.encode({"sub": "u"}, der.hex(), algorithm="HS256", headers=headers)
    unsigned = jwt.encode({"sub": "u"}, "", algorithm="none", headers=headers)
    for token in (shared, unsigned):
        with pytest.raises(InvalidTokenError) as refused:
            verifier.verify(token)
        assert refused.value.reason == "wrong_type"


@pytest.mark.parametrize("seconds", [-8, 8, 20])
def test_clocks_of_nodes_may_differ(
    tmp_path: Path, signer: SigningKeys, verifier: TokenVerifier, seconds: int
) -> None:
    now = datetime.now(UTC)
    there = now + timedelta(seconds=seconds)
    assert verifier.verify(forge(tmp_path, iat=there, nbf=there)).user_id == "u"
    passed = now - timedelta(seconds=abs(seconds))
    assert verifier.verify(forge(tmp_path, exp=passed)).user_id == "u"
    with pytest.raises(InvalidTokenError):
        verifier.verify(forge(tmp_path, nbf=now + timedelta(seconds=60)))
    # A temporary token that expired while the clock of its issuer was behind.
    life = (
        datetime.fromtimestamp(
            jwt.decode(signer.temporary(SAYS, now), options={"verify_signature": False})["exp"], UTC
        )
        - now
    )
    assert signer.read_temporary(signer.temporary(SAYS, passed - life)) == SAYS


def test_a_key_that_is_not_ours_is_refused(tmp_path: Path, verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidTokenError) as refused:
        verifier.verify(forge(tmp_path, {"kid": "theirs"}))
    assert refused.value.reason == "unknown_key"


def test_a_temporary_token_is_no_access_token(signer: SigningKeys, verifier: TokenVerifier) -> None:
    temporary = signer.temporary(SAYS, now())
    with pytest.raises(InvalidTokenError):
        verifier.verify(temporary)
    assert signer.read_temporary(temporary) == SAYS
    with pytest.raises(InvalidTokenError):
        signer.read_access(temporary)
    assert signer.read_temporary(access(signer)) is None


def test_a_new_key_signs_at_once_and_the_old_ones_tokens_stay_good(
    tmp_path: Path, signer: SigningKeys, verifier: TokenVerifier
) -> None:
    old = access(signer)
    add_signing_key(tmp_path / "keys", "two")
    new = access(signer)
    publish(tmp_path, signer)
    assert jwt.get_unverified_header(new)["kid"] == "two"
    assert verifier.verify(new).user_id == verifier.verify(old).user_id == "u"


def test_a_key_that_is_taken_out_of_the_set_is_believed_no_longer_than_it_is_read_again(
    tmp_path: Path,
    signer: SigningKeys,
    verifier: TokenVerifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(monotonic=lambda: 1_000.0)
    monkeypatch.setattr(tokens, "time", clock)
    old = access(signer)
    assert verifier.verify(old).user_id == "u"
    add_signing_key(tmp_path / "keys", "two")
    (tmp_path / "keys" / "one.pem").unlink()
    new = access(signer)
    publish(tmp_path, signer)
    clock.monotonic = lambda: 1_000.0 + tokens.REREAD_SECONDS + 0.1
    with pytest.raises(InvalidTokenError) as refused:
        verifier.verify(old)
    assert refused.value.reason == "unknown_key"
    assert verifier.verify(new).user_id == "u"


def test_published_keys_have_no_private_half(signer: SigningKeys) -> None:
    assert all("d" not in key for key in signer.jwks()["keys"])


def test_auth_reads_its_own_tokens_as_everybody_does(
    signer: SigningKeys, verifier: TokenVerifier, tmp_path: Path
) -> None:
    token = access(signer)
    assert signer.read_access(token) == verifier.verify(token)
    for wrong in (forge(tmp_path, {"kid": "theirs"}), forge(tmp_path, aud="other"), "rubbish"):
        with pytest.raises(InvalidTokenError):
            signer.read_access(wrong)


def test_a_ticket_ends_after_half_a_minute(signer: SigningKeys, verifier: TokenVerifier) -> None:
    def ticket(now: datetime) -> str:
        return signer.socket_ticket(
            user_id="u", session_id="s", epoch=2, until=now + timedelta(hours=1), now=now
        )

    now = datetime.now(UTC)
    accepted = SOCKET_TICKET_SECONDS + CLOCK_SKEW_SECONDS
    assert verifier.verify_ticket(ticket(now - timedelta(seconds=accepted - 20))).user_id == "u"
    with pytest.raises(InvalidTokenError) as refused:
        verifier.verify_ticket(ticket(now - timedelta(seconds=accepted + 1)))
    assert refused.value.reason == "expired"
