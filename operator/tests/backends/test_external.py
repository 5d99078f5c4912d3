"""How the Secret of an external server is parsed, and which files the services get from it."""

from typing import Any

import pytest
from aio_pika.connection import make_url
from pymongo import uri_parser

from ashchat_core.topology import Service
from ashchat_operator.backends import external
from ashchat_operator.backends.base import Backend, Login
from ashchat_operator.backends.external import ExternalServer, InvalidSecretError
from ashchat_operator.resource.model import External
from operator_rendering import resource

LOGIN = Login(Service.AUTH, "auth-a", "drawn")
REDIS_HERE = {"uri": "redis://a:b@here"}


def server(backend: Backend, secret: dict[str, str], **block: Any) -> ExternalServer:
    body = {"connectionSecretRef": {"name": "mine"}, **block}
    return external.server(
        backend,
        External.model_validate(body),
        {key: value.encode() for key, value in secret.items()},
        ca=b"-----BEGIN CERTIFICATE-----" if "caSecretRef" in block.get("tls", {}) else None,
        beginning="team_chat_",
        revision="12",
    )


def uri(found: ExternalServer, service: Service = Service.AUTH) -> str:
    files = external.files(found, service, LOGIN)
    return next(value.decode() for name, value in files.items() if name.endswith(".uri"))


# As CloudAMQP, Amazon MQ and the RabbitMQ cluster operator present it.
@pytest.mark.parametrize(
    ("secret", "where", "vhost", "management"),
    [
        (
            {"uri": "amqps://abc:word@dog.rmq.cloudamqp.com/abc"},
            "dog.rmq.cloudamqp.com:5671", "abc", "https://dog.rmq.cloudamqp.com",
        ),
        (
            {"uri": "amqps://b-1.mq.eu.amazonaws.com:5671", "username": "me", "password": "w"},
            "b-1.mq.eu.amazonaws.com:5671", "team_chat_ashchat", "https://b-1.mq.eu.amazonaws.com",
        ),
        (
            {"host": "mq.team.svc", "username": "default", "password": "w",
             "management-url": "https://mq.team.svc:15671/"},
            "mq.team.svc:5671", "team_chat_ashchat", "https://mq.team.svc:15671",
        ),
    ],
)  # fmt: skip
def test_connection_secrets_of_rabbitmq_providers_are_parsed(
    secret: dict[str, str], where: str, vhost: str, management: str
) -> None:
    found = server(Backend.RABBITMQ, secret)
    assert (found.where, found.vhost, found.management_url) == (where, vhost, management)
    assert uri(found).startswith("amqps://team_chat_auth-a:drawn@")
    assert str(make_url(uri(found)).path) == f"/{vhost}"


def test_without_tls_the_ports_are_the_plain_ones() -> None:
    given = {"host": "mq", "username": "a", "password": "b"}
    found = server(Backend.RABBITMQ, given, tls={"enabled": False})
    assert (found.where, found.management_url) == ("mq:5672", "http://mq:15672")
    assert uri(found).startswith("amqp://")


def test_a_replica_set_keeps_its_hosts_and_options_except_weaker_tls() -> None:
    found = server(
        Backend.MONGODB,
        {
            "uri": "mongodb://boss:w@a.example:1,b.example:2/users?replicaSet=rs0"
            "&retryWrites=false&tlsInsecure=true&tlsAllowInvalidHostnames=true"
        },
        tls={"caSecretRef": {"name": "ca"}},
    )
    assert found.auth_source == "users", "where the administrator's user is stored"
    files = external.files(found, Service.CHAT, LOGIN)
    parsed = uri_parser.parse_uri(files["mongodb.uri"].decode())
    assert parsed["nodelist"] == [("a.example", 1), ("b.example", 2)]
    assert parsed["database"] == "team_chat_chat"
    assert parsed["username"] == "team_chat_auth-a"
    options = {key.lower(): value for key, value in parsed["options"].items()}
    assert options == {
        "authsource": "admin", "tls": True, "replicaset": "rs0", "retrywrites": False,
    }  # fmt: skip
    assert files["mongodb-ca.pem"] == b"-----BEGIN CERTIFICATE-----"


def test_atlas_uses_its_srv_name_and_the_provided_login_for_every_service() -> None:
    found = server(
        Backend.MONGODB,
        {"uri": "mongodb+srv://boss:w%2Fd@c.mongodb.net/?w=majority"},
        users="Provided",
    )
    files = external.files(found, Service.AUTH, LOGIN)
    assert files["mongodb.uri"].startswith(
        b"mongodb+srv://boss:w%2Fd@c.mongodb.net/team_chat_auth?"
    )
    assert files["mongodb.revision"] == b"12", "no digest of a password that a user chose"


def test_redis_needs_no_username_and_gets_a_key_prefix() -> None:
    found = server(Backend.REDIS, {"host": "r.example", "password": "w"}, users="Provided")
    assert uri(found) == "rediss://default:w@r.example:6379/0?prefix=team_chat_"


def test_the_cache_may_be_the_same_redis() -> None:
    found = server(Backend.CACHE, REDIS_HERE)
    assert set(external.files(found, Service.TRANSLATE, LOGIN)) == {"redis.uri", "redis.revision"}


@pytest.mark.parametrize(
    ("backend", "secret", "block", "says"),
    [
        (Backend.REDIS, {"password": "w"}, {}, "neither uri nor host"),
        (Backend.REDIS, {"uri": "http://a:b@c"}, {}, "must start with redis:// or rediss://"),
        (Backend.REDIS, {"uri": "redis://c"}, {}, "lacks username or password"),
        (Backend.REDIS, {"uri": "redis://a:b@c/3"}, {}, "a database other than 0"),
        (Backend.REDIS, {"uri": "redis://a:b@c:x"}, {}, "is not host:port"),
        (Backend.REDIS, {"uri": "redis://a:b@"}, {}, "names no host"),
        (Backend.REDIS, {"uri": "rediss://a:b@c"}, {"tls": {"enabled": False}}, "requests TLS"),
        (
            Backend.MONGODB, {"uri": "mongodb://a:b@c/?tls=true"}, {"tls": {"enabled": False}},
            "requests TLS",
        ),
        (
            Backend.RABBITMQ, {"uri": "amqps://a:b@c", "management-url": "http://c:15672"}, {},
            "must start with https://",
        ),
        (
            Backend.RABBITMQ, {"uri": "amqps://a:b@c", "management-url": "https://a:b@c"}, {},
            "without a login",
        ),
    ],
)  # fmt: skip
def test_an_invalid_secret_is_rejected_with_the_reason(
    backend: Backend, secret: dict[str, str], block: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidSecretError, match=says) as caught:
        server(backend, secret, **block)
    assert "w" not in str(caught.value).split(), "no password"


def test_an_invalid_ca_is_rejected() -> None:
    block = External.model_validate(
        {"connectionSecretRef": {"name": "s"}, "tls": {"caSecretRef": {"name": "c"}}}
    )
    with pytest.raises(InvalidSecretError, match="no certificate"):
        external.server(
            Backend.REDIS,
            block,
            {"uri": b"redis://a:b@c"},
            ca=b"x",
            beginning="",
            revision="1",
        )


def test_two_ashchats_never_share_a_prefix() -> None:
    block = External.model_validate({"connectionSecretRef": {"name": "s"}})
    ash = resource("minimal")

    def named(namespace: str, name: str) -> str:
        return external.prefix(ash.model_copy(update={"namespace": namespace, "name": name}), block)

    assert named("team", "chat") == "team_chat_"
    assert named("a-b", "c") != named("a", "b-c")
    long = [named("n" * 63, "a" * 40), named("n" * 63, "b" * 40), named("1st", "c")]
    assert len(set(long)) == 3
    assert all(len(name) <= external.PREFIX_MAX and name[0].isalpha() for name in long)


def test_repr_shows_no_secret() -> None:
    found = server(Backend.REDIS, {"uri": "redis://boss:hush@here"})
    assert "hush" not in repr(found)
