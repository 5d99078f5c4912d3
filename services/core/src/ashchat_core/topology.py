"""The services of one AshChat, and the queues, bindings, policies and permissions between them.

These tables are the single source. The operator declares the topology and repairs it; the
services only check that it exists. Whatever may change during a queue's life (time to live,
length, delivery limit, dead-lettering) is a policy, never a queue argument, so a declaration
never conflicts (https://www.rabbitmq.com/docs/policies#why-policies-exist).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ashchat_core import messages
from ashchat_core.messages import Message

VHOST: Final = "ashchat"
"""The virtual host that holds everything below."""

DEAD_LETTER_EXCHANGE: Final = "dead-letter"
"""Direct exchange; a dead letter keeps its routing key, the name of its queue."""

RETRY_EXCHANGE: Final = "retry"
"""Direct exchange that brings a message back from its retry queue to its own queue."""

AUTH_REPLIES_EXCHANGE: Final = "auth.replies"
"""Direct exchange for answers to auth; each auth pod binds its own `auth.reply.<pod>`."""

AUTH_REPLY_QUEUE_PREFIX: Final = "auth.reply."
"""Exclusive classic queues of the auth pods, the only queues that a service declares."""

DEAD_LETTER_SUFFIX: Final = ".dead"
RETRY_SUFFIX: Final = ".retry"

RETRY_DELAY_MS: Final = 15_000
"""How long a message waits in a retry queue, in milliseconds."""

DELIVERY_LIMIT: Final = 20
"""Redeliveries before a message is dead-lettered (RabbitMQ 4's own default)."""

DEAD_DELIVERY_LIMIT: Final = 1_000_000_000
"""The same for a dead-letter queue: effectively unlimited. Reading a dead letter is a delivery
that is requeued, and the default limit would drop it the 21st time. RabbitMQ before 4.0 rejects
-1."""

MAX_LENGTH_BYTES: Final = 256 * 1024 * 1024
"""Maximum size of a queue; it then rejects publishes (overflow: reject-publish)."""


class Queue(StrEnum):
    """The durable quorum queues, by the names of the original's protocol."""

    ACCOUNT_CREATION = "ACCOUNT_CREATION_QUEUE"
    CONFIRM_EMAIL_CODE = "CONFIRM_EMAIL_CODE_QUEUE"
    CONFIRM_NEW_ACCOUNT = "CONFIRM_NEW_ACCOUNT_QUEUE"
    CONFIRM_NEW_DEVICE = "CONFIRM_NEW_DEVICE_QUEUE"
    CONFIRM_NEW_DEVICE_REPLY = "CONFIRM_NEW_DEVICE_REPLY_QUEUE"
    CHANGE_DEVICE_TOKEN = "CHANGE_DEVICE_TOKEN_QUEUE"  # noqa: S105 (a queue's name)
    CHANGE_PASSWORD = "CHANGE_PASSWORD_QUEUE"  # noqa: S105
    CONFIRM_CHANGE_PASSWORD = "CONFIRM_CHANGE_PASSWORD_QUEUE"  # noqa: S105
    CHANGE_EMAIL = "CHANGE_EMAIL_QUEUE"
    CONFIRM_CHANGE_EMAIL = "CONFIRM_CHANGE_EMAIL_QUEUE"
    SECURITY_NOTICE = "SECURITY_NOTICE_QUEUE"
    SESSION_REVOKED_CHAT = "SESSION_REVOKED_CHAT_QUEUE"
    SESSION_REVOKED_STATIC = "SESSION_REVOKED_STATIC_QUEUE"
    PROFILE_CHANGED = "PROFILE_CHANGED_QUEUE"
    ACCOUNT_DELETION_CHAT = "ACCOUNT_DELETION_CHAT_QUEUE"
    ACCOUNT_DELETION_STATIC = "ACCOUNT_DELETION_STATIC_QUEUE"
    TRANSLATE = "TRANSLATE_QUEUE"
    TRANSLATED = "TRANSLATED_QUEUE"


class Service(StrEnum):
    """The services; each logs in to the backends with its own users."""

    AUTH = "auth"
    EMAIL = "email"
    CHAT = "chat"
    TRANSLATE = "translate"
    STATIC = "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """One service, as the operator, the CLI, the images and the tests need to know it."""

    name: Service

    path_prefix: str | None = None
    """Path prefix of its public HTTP API; None: the service has no public port."""

    @property
    def public(self) -> bool:
        """Whether clients reach the service, with access tokens that it verifies."""
        return self.path_prefix is not None


SERVICES: tuple[ServiceSpec, ...] = (
    ServiceSpec(name=Service.AUTH, path_prefix="/auth"),
    ServiceSpec(name=Service.EMAIL),
    ServiceSpec(name=Service.CHAT, path_prefix="/chat"),
    ServiceSpec(name=Service.TRANSLATE),
    ServiceSpec(name=Service.STATIC, path_prefix="/"),
)
"""Every service. What cannot import this table is compared with it by a test."""


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue, its publisher (through the exchange of that name) and its consumer.

    `body` is the model of its messages, and `reply` of the answers to them, if they are answered.
    `retry` adds a second queue, in which the *consumer* parks a message that failed for its own
    reason (a greylisted address), so that it does not delay the others.
    """

    name: Queue
    writer: Service
    reader: Service
    body: type[Message]
    reply: type[Message] | None = None
    retry: bool = False

    @property
    def dead(self) -> str:
        """The dead-letter queue's name."""
        return f"{self.name}{DEAD_LETTER_SUFFIX}"

    @property
    def retry_queue(self) -> str:
        """The retry queue's name (declared only where `retry` is set)."""
        return f"{self.name}{RETRY_SUFFIX}"


QUEUES: tuple[QueueSpec, ...] = (
    QueueSpec(
        Queue.ACCOUNT_CREATION, Service.AUTH, Service.EMAIL, messages.AccountCreation, retry=True
    ),
    QueueSpec(
        Queue.CONFIRM_EMAIL_CODE,
        Service.AUTH,
        Service.EMAIL,
        messages.ConfirmEmailCode,
        reply=messages.ConfirmEmailCodeReply,
    ),
    QueueSpec(
        Queue.CONFIRM_NEW_ACCOUNT,
        Service.AUTH,
        Service.CHAT,
        messages.ConfirmNewAccount,
        reply=messages.AccountConfirmed,
    ),
    QueueSpec(
        Queue.CONFIRM_NEW_DEVICE, Service.AUTH, Service.EMAIL, messages.NewDeviceCode, retry=True
    ),
    QueueSpec(
        Queue.CONFIRM_NEW_DEVICE_REPLY,
        Service.AUTH,
        Service.EMAIL,
        messages.ConfirmNewDevice,
        reply=messages.ConfirmNewDeviceReply,
    ),
    QueueSpec(Queue.CHANGE_DEVICE_TOKEN, Service.AUTH, Service.CHAT, messages.DevicesChanged),
    QueueSpec(
        Queue.CHANGE_PASSWORD, Service.AUTH, Service.EMAIL, messages.ChangePassword, retry=True
    ),
    QueueSpec(
        Queue.CONFIRM_CHANGE_PASSWORD,
        Service.AUTH,
        Service.EMAIL,
        messages.ConfirmChangePassword,
        reply=messages.ConfirmChangePasswordReply,
    ),
    QueueSpec(Queue.CHANGE_EMAIL, Service.AUTH, Service.EMAIL, messages.ChangeEmail, retry=True),
    QueueSpec(
        Queue.CONFIRM_CHANGE_EMAIL,
        Service.AUTH,
        Service.EMAIL,
        messages.ConfirmChangeEmail,
        reply=messages.ConfirmChangeEmailReply,
    ),
    QueueSpec(
        Queue.SECURITY_NOTICE, Service.AUTH, Service.EMAIL, messages.SecurityNotice, retry=True
    ),
    QueueSpec(Queue.SESSION_REVOKED_CHAT, Service.AUTH, Service.CHAT, messages.SessionRevoked),
    QueueSpec(Queue.SESSION_REVOKED_STATIC, Service.AUTH, Service.STATIC, messages.SessionRevoked),
    QueueSpec(
        Queue.PROFILE_CHANGED, Service.AUTH, Service.CHAT, messages.ProfileChanged, retry=True
    ),
    QueueSpec(Queue.ACCOUNT_DELETION_CHAT, Service.AUTH, Service.CHAT, messages.AccountDeletion),
    QueueSpec(
        Queue.ACCOUNT_DELETION_STATIC, Service.AUTH, Service.STATIC, messages.AccountDeletion
    ),
    QueueSpec(Queue.TRANSLATE, Service.CHAT, Service.TRANSLATE, messages.TranslateJob, retry=True),
    QueueSpec(Queue.TRANSLATED, Service.TRANSLATE, Service.CHAT, messages.TranslationResult),
)

SPECS: Final[Mapping[str, QueueSpec]] = {queue.name: queue for queue in QUEUES}
"""The queues by name."""


def check_body(queue: str, body: type[Message]) -> None:
    """Check what is published to a queue, or expected from it.

    Raises:
        TypeError: The table has another model for this queue.
    """
    spec = SPECS.get(queue)
    if spec is not None and body is not spec.body:
        raise TypeError(f"{queue} has messages of {spec.body.__name__}, not {body.__name__}")


def check_reply(queue: str, reply: type[Message]) -> None:
    """Check what is expected as the answer to a message of a queue.

    Raises:
        TypeError: The table has another model for the answers, or none.
    """
    if SPECS[queue].reply is not reply:
        raise TypeError(f"the messages of {queue} are not answered by {reply.__name__}")


@dataclass(frozen=True, slots=True)
class RedisGrant:
    """What one service may access in Redis: key and channel patterns, and the instance."""

    service: Service
    keys: tuple[str, ...]
    channels: tuple[str, ...] = ()
    cache: bool = False
    """Whether this is the cache, which may evict keys; otherwise the durable instance."""

    credential: str = "redis"
    """The name of the credential, and of its files: `redis.uri`."""


COUNTERS: Final = "counters"
"""The credential for counters of limits, which the cache may evict."""

# A service has the same keys and channels in both instances, because both may be one server.
REDIS_GRANTS: tuple[RedisGrant, ...] = (
    RedisGrant(Service.AUTH, keys=("auth:*",)),
    RedisGrant(Service.AUTH, keys=("auth:*",), cache=True, credential=COUNTERS),
    RedisGrant(Service.EMAIL, keys=("email:*",)),
    RedisGrant(Service.EMAIL, keys=("email:*",), cache=True, credential=COUNTERS),
    RedisGrant(Service.CHAT, keys=("chat:*",), channels=("chat:*",)),
    RedisGrant(
        Service.CHAT, keys=("chat:*",), channels=("chat:*",), cache=True, credential=COUNTERS
    ),
    RedisGrant(Service.TRANSLATE, keys=("translate:*",), cache=True),
)

MONGODB_DATABASES: dict[Service, str] = {Service.AUTH: "auth", Service.CHAT: "chat"}
"""The MongoDB database of each service that has one."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding from a direct exchange to a queue."""

    exchange: str
    queue: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy for one queue; merged, because RabbitMQ applies one policy per queue."""

    name: str
    queue: str
    definition: dict[str, str | int] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Permissions:
    """RabbitMQ's three regular expressions (https://www.rabbitmq.com/docs/access-control)."""

    configure: str
    write: str
    read: str


def exchanges() -> tuple[str, ...]:
    """Return the names of all (durable, direct) exchanges, publishers first."""
    writers = sorted({queue.writer.value for queue in QUEUES})
    retriers = sorted({queue.reader.value for queue in QUEUES if queue.retry})
    own = sorted({*writers, *retriers})
    return (*own, AUTH_REPLIES_EXCHANGE, RETRY_EXCHANGE, DEAD_LETTER_EXCHANGE)


def queues() -> tuple[str, ...]:
    """Return the names of all (durable, quorum) queues, including dead-letter and retry queues."""
    names = [queue.name.value for queue in QUEUES]
    names += [queue.retry_queue for queue in QUEUES if queue.retry]
    names += [queue.dead for queue in QUEUES]
    return tuple(names)


def bindings() -> tuple[Binding, ...]:
    """Return every binding; the routing key is always the name of the (first) queue."""
    result: list[Binding] = []
    for queue in QUEUES:
        result.append(Binding(queue.writer.value, queue.name, queue.name))
        result.append(Binding(DEAD_LETTER_EXCHANGE, queue.dead, queue.name))
        if queue.retry:
            result.append(Binding(queue.reader.value, queue.retry_queue, queue.name))
            result.append(Binding(RETRY_EXCHANGE, queue.name, queue.name))
    return tuple(result)


def policies() -> tuple[Policy, ...]:
    """Return one merged policy per queue.

    At-least-once dead-lettering needs `overflow: reject-publish`
    (https://www.rabbitmq.com/docs/quorum-queues#activating-at-least-once-dead-lettering).
    """
    result: list[Policy] = []
    for queue in QUEUES:
        result.append(
            Policy(
                queue.name,
                queue.name,
                {
                    "dead-letter-exchange": DEAD_LETTER_EXCHANGE,
                    "dead-letter-routing-key": queue.name.value,
                    "dead-letter-strategy": "at-least-once",
                    "delivery-limit": DELIVERY_LIMIT,
                    "max-length-bytes": MAX_LENGTH_BYTES,
                    "overflow": "reject-publish",
                },
            )
        )
        result.append(Policy(queue.dead, queue.dead, {"delivery-limit": DEAD_DELIVERY_LIMIT}))
        if queue.retry:
            result.append(
                Policy(
                    queue.retry_queue,
                    queue.retry_queue,
                    {
                        "dead-letter-exchange": RETRY_EXCHANGE,
                        "dead-letter-routing-key": queue.name.value,
                        "dead-letter-strategy": "at-least-once",
                        "message-ttl": RETRY_DELAY_MS,
                        "max-length-bytes": MAX_LENGTH_BYTES,
                        "overflow": "reject-publish",
                    },
                )
            )
    return tuple(result)


def permissions(service: Service) -> Permissions | None:
    """Return a service's permissions in the virtual host; None if it does not log in there."""
    reads = [queue.value for queue in consumed(service)]
    writes = [name for name in exchanges() if name == service.value]
    if service in {Service.EMAIL, Service.CHAT}:
        writes.append(AUTH_REPLIES_EXCHANGE)
    if not reads and not writes:
        return None
    if service is Service.AUTH:
        # Binding a queue requires write on the queue and read on the exchange.
        own = AUTH_REPLY_QUEUE_PREFIX.replace(".", r"\.") + ".*"
        reply_exchange = AUTH_REPLIES_EXCHANGE.replace(".", r"\.")
        return Permissions(
            configure=f"^{own}$",
            write=_any_of([*(_escape(name) for name in writes), own]),
            read=_any_of([*(_escape(name) for name in reads), own, reply_exchange]),
        )
    return Permissions(
        configure="^$",
        write=_any_of([_escape(name) for name in writes]),
        read=_any_of([_escape(name) for name in reads]),
    )


def consumed(service: Service) -> tuple[Queue, ...]:
    """Return the queues that a service consumes; auth consumes its reply queues only."""
    return tuple(queue.name for queue in QUEUES if queue.reader is service)


def published(service: Service) -> tuple[Queue, ...]:
    """Return the queues that a service publishes to."""
    return tuple(queue.name for queue in QUEUES if queue.writer is service)


def _escape(name: str) -> str:
    return name.replace(".", r"\.")


def _any_of(patterns: list[str]) -> str:
    return "^(" + "|".join(patterns) + ")$" if patterns else "^$"
