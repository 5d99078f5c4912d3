"""`topology apply` without backends: the addresses, and the files that it creates and reuses."""

import json
import stat
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
from typer.testing import CliRunner

from ashchat_core.topology import Service
from ashchat_operator.backends.base import Backend
from ashchat_operator.cli import app
from ashchat_operator.topology_cli import CredentialFiles, UsageError, collect, read_admin

ENVIRONMENT = {
    "ASHCHAT_ADMIN_RABBITMQ_MANAGEMENT_URI": "http://root:p%40ss@broker.test",
    "ASHCHAT_ADMIN_MONGODB_URI": "mongodb://root:secret@database.test",
    "ASHCHAT_ADMIN_REDIS_URI": "redis://:secret@redis.test:6380",
}


def test_addresses_are_parsed() -> None:
    admin = read_admin(ENVIRONMENT)
    assert admin.rabbitmq.management_url == "http://broker.test:15672"
    assert (admin.rabbitmq.username, admin.rabbitmq.password) == ("root", "p@ss")
    assert admin.amqp == ("broker.test", 5672)
    assert (admin.mongodb.host, admin.mongodb.port) == ("database.test", 27017)
    assert (admin.redis.port, admin.redis.username) == (6380, "default")
    assert admin.cache == admin.redis
    assert not admin.redis.owned


def test_an_address_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "uri"
    file.write_text("redis://:other@cache.test\n")
    admin = read_admin({**ENVIRONMENT, "ASHCHAT_ADMIN_CACHE_URI_FILE": str(file)})
    assert (admin.cache.host, admin.cache.password) == ("cache.test", "other")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ASHCHAT_ADMIN_REDIS_URI": ""}, "Set ASHCHAT_ADMIN_REDIS_URI to redis://"),
        ({"ASHCHAT_ADMIN_REDIS_URI": "http://secret@x"}, "is not a redis address"),
        ({"ASHCHAT_ADMIN_REDIS_URI": "redis://:secret@x:port"}, "the port is not a number"),
        ({"ASHCHAT_ADMIN_CACHE_URI_FILE": "/nowhere"}, "No such file"),
    ],
)
def test_an_invalid_address_is_reported_without_its_password(
    change: dict[str, str], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        read_admin({**ENVIRONMENT, **change})
    assert "secret" not in str(caught.value)


def test_files_are_created_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    admin = read_admin(ENVIRONMENT)
    files = CredentialFiles(tmp_path / "new")
    first = collect(files, admin)
    assert not (tmp_path / "new").exists()
    files.write()
    made = {file: file.read_text() for file in (tmp_path / "new").rglob("*") if file.is_file()}
    for file in made:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    again = CredentialFiles(tmp_path / "new")
    assert collect(again, admin) == first
    assert again.missing == ()
    again.write()
    assert made == {file: file.read_text() for file in made}


def test_each_service_gets_files_for_its_backends(tmp_path: Path) -> None:
    files = CredentialFiles(tmp_path)
    logins = collect(files, read_admin(ENVIRONMENT, "second"), "second")
    files.write()
    got = {
        service: sorted(file.name for file in (tmp_path / service).glob("*.uri"))
        for service in Service
    }
    assert got == {
        Service.AUTH: ["counters.uri", "mongodb.uri", "rabbitmq.uri", "redis.uri"],
        Service.EMAIL: ["counters.uri", "rabbitmq.uri", "redis.uri"],
        Service.CHAT: ["counters.uri", "mongodb.uri", "rabbitmq.uri", "redis.uri"],
        Service.TRANSLATE: ["rabbitmq.uri", "redis.uri"],
        Service.STATIC: ["rabbitmq.uri"],
    }
    counters, durable = (
        urlsplit((tmp_path / f"auth/{name}.uri").read_text()) for name in ("counters", "redis")
    )
    assert (counters.username, counters.password) == (durable.username, durable.password)
    assert len(bytes.fromhex((tmp_path / "email/code.key").read_text())) == 32
    version = (tmp_path / "key-ring/active").read_text()
    assert len(bytes.fromhex((tmp_path / f"key-ring/{version}.key").read_text())) == 32
    uri = urlsplit((tmp_path / "chat/mongodb.uri").read_text())
    assert (uri.path, uri.username) == ("/second-chat", "second-chat-a")
    assert urlsplit((tmp_path / "chat/rabbitmq.uri").read_text()).path == "/second"
    # A service has one password at both Redis instances, and another one at every other backend.
    passwords = {(login.password, login.service) for login in logins}
    instances = {Backend.REDIS, Backend.CACHE}
    elsewhere = [login for login in logins if not login.backends & instances]
    at_redis = {login.service for login in logins if login.backends & instances}
    assert len(passwords) == len({word for word, _ in passwords}) == len(elsewhere) + len(at_redis)
    assert {login.backends for login in logins if login.service is Service.TRANSLATE} == {
        frozenset({Backend.RABBITMQ}),
        frozenset({Backend.CACHE}),
    }


def test_the_published_keys_verify_what_the_private_ones_sign(tmp_path: Path) -> None:
    files = CredentialFiles(tmp_path)
    collect(files, read_admin(ENVIRONMENT))
    files.write()
    kid = (tmp_path / "signing-keys/active").read_text()
    private = (tmp_path / f"signing-keys/{kid}.pem").read_text()
    token = jwt.encode({"sub": "x"}, private, algorithm="ES256", headers={"kid": kid})
    text = (tmp_path / "jwks/jwks.json").read_text()
    assert '"d"' not in text
    (key,) = jwt.PyJWKSet.from_dict(json.loads(text)).keys
    assert key.key_id == kid
    assert jwt.decode(token, key, algorithms=["ES256"]) == {"sub": "x"}


def test_without_addresses_the_command_reports_what_to_set() -> None:
    result = CliRunner().invoke(app, ["topology", "check"], env={})
    assert result.exit_code == 2
    assert "ASHCHAT_ADMIN_RABBITMQ_MANAGEMENT_URI" in result.output
