"""Wiring of the email service: settings and credentials in, an app out."""

from typing import Final

from ashchat_core import runtime
from ashchat_core.admission.counters import RedisCounters
from ashchat_core.admission.gate import Admission
from ashchat_core.amqp import Broker
from ashchat_core.credentials import Credentials
from ashchat_core.redis import Redis
from ashchat_core.topology import COUNTERS, Service
from ashchat_email import consumers
from ashchat_email.codes import CodeKey, CodeKeys
from ashchat_email.limits import MailLimits
from ashchat_email.service import EmailService
from ashchat_email.settings import Settings
from ashchat_email.smtp import Mailer
from ashchat_email.store import RedisPending

SERVICE: Final = Service.EMAIL
CODE_KEY: Final = "code.key"


def build(settings: Settings) -> runtime.App:
    """Return the app, ready to run."""
    credentials = Credentials(settings.credentials_dir)
    broker = Broker(credentials, f"{SERVICE}/{settings.pod_name}", own_exchange=SERVICE.value)
    redis = Redis(credentials)
    counters = Redis(credentials, COUNTERS)
    keys = CodeKeys(_code_key(credentials))
    mailer = Mailer(settings, credentials)
    service = EmailService(
        RedisPending(redis),
        mailer,
        keys,
        MailLimits(
            Admission(RedisCounters(counters, "email:admission")),
            per_address=settings.mails_per_address_per_day,
            in_total=settings.mails_per_day,
        ),
        from_=settings.smtp_from,
        product=settings.product_name,
    )
    consumers.register(broker, service)

    async def code_key_changed() -> None:
        keys.renew(_code_key(credentials))

    async def watch_code_key() -> None:
        await credentials.watch(CODE_KEY, code_key_changed)

    return runtime.App(
        name=SERVICE.value,
        settings=settings,
        public=None,
        revisions=lambda: credentials.in_use,
        checks=(("Redis", redis.ping), runtime.queues_check(broker, SERVICE)),
        background=(broker.run, redis.watch, counters.watch, watch_code_key, mailer.run),
        on_ready=(broker.start_consuming,),
        on_stop=(broker.stop,),
        on_close=(mailer.close, counters.close, redis.close),
    )


def _code_key(credentials: Credentials) -> CodeKey:
    credential = credentials.read(CODE_KEY)
    credentials.use("code", credential.revision)
    return CodeKey(bytes.fromhex(credential.text))


def main() -> None:
    """Run until SIGTERM."""
    runtime.run(SERVICE, build, Settings)
