"""Wiring of email: settings and credentials in, a running service out."""

from importlib.metadata import PackageNotFoundError, version

from ashchat_core import runtime
from ashchat_core.amqp import Broker
from ashchat_core.credentials import Credentials
from ashchat_core.redis import Redis
from ashchat_core.topology import QUEUES, Service
from ashchat_email import consumers
from ashchat_email.codes import CodeKey, CodeKeys
from ashchat_email.service import EmailService
from ashchat_email.settings import Settings
from ashchat_email.smtp import Mailer
from ashchat_email.store import RedisPending

NAME = Service.EMAIL.value
CODE_KEY = "code.key"
READS = [queue.name.value for queue in QUEUES if queue.reader is Service.EMAIL]


def build(settings: Settings) -> runtime.Service:
    """Return the service, ready to run."""
    credentials = Credentials(settings.credentials_dir)
    broker = Broker(credentials, f"{NAME}/{settings.pod_name}", own_exchange=NAME)
    redis = Redis(credentials)
    keys = CodeKeys(_code_key(credentials))
    mailer = Mailer(settings, credentials)
    service = EmailService(
        RedisPending(redis),
        mailer,
        keys,
        from_=settings.smtp_from,
        product=settings.product_name,
    )
    consumers.register(broker, service)

    async def topology() -> None:
        await broker.topology_ready(READS)

    async def code_key_changed() -> None:
        keys.renew(_code_key(credentials))

    async def watch_code_key() -> None:
        await credentials.watch(CODE_KEY, code_key_changed)

    return runtime.Service(
        name=NAME,
        version=_version(),
        settings=settings,
        public=None,
        revisions=lambda: credentials.in_use,
        checks=(("Redis", redis.ping), ("RabbitMQ and its queues", topology)),
        background=(broker.run, redis.watch, watch_code_key, mailer.run),
        on_ready=(broker.start_consuming,),
        on_stop=(broker.stop,),
        on_close=(mailer.close, redis.close),
    )


def _code_key(credentials: Credentials) -> CodeKey:
    credential = credentials.read(CODE_KEY)
    credentials.use("code", credential.revision)
    return CodeKey(bytes.fromhex(credential.text))


def _version() -> str:
    try:
        return version("ashchat-email")
    except PackageNotFoundError:  # in an image the sources are on the path, not installed
        return "0.1.0"


def main() -> None:
    """Run until SIGTERM."""
    settings = Settings()
    runtime.run(lambda: build(settings), name=NAME, settings=settings)
