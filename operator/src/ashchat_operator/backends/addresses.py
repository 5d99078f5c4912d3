"""The addresses with which services connect to managed backends, passwords included. Pure."""

from urllib.parse import quote

from ashchat_core.topology import VHOST
from ashchat_operator.backends.base import Login


def rabbitmq_uri(host: str, login: Login, port: int = 5672, vhost: str = VHOST) -> str:
    """Return the address of a service at RabbitMQ."""
    return f"amqp://{_userinfo(login)}@{host}:{port}/{quote(vhost, safe='')}"


def mongodb_uri(host: str, login: Login, database_name: str, port: int = 27017) -> str:
    """Return the address of a service at MongoDB."""
    return f"mongodb://{_userinfo(login)}@{host}:{port}/{database_name}?authSource=admin"


def redis_uri(host: str, login: Login, port: int = 6379) -> str:
    """Return the address of a service at Redis."""
    return f"redis://{_userinfo(login)}@{host}:{port}/0"


def _userinfo(login: Login) -> str:
    return f"{quote(login.username, safe='')}:{quote(login.password, safe='')}"
