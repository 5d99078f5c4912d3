"""Wiring of the static service: settings in, an app out."""

from typing import Final

from ashchat_core import runtime
from ashchat_core.amqp import Broker
from ashchat_core.credentials import Credentials
from ashchat_core.tokens import JWKS, TokenVerifier
from ashchat_core.topology import Service
from ashchat_static import api, consumers
from ashchat_static.ended_sessions import EndedSessions
from ashchat_static.gate import Gate
from ashchat_static.service import Quota
from ashchat_static.settings import Settings
from ashchat_static.store import Volume

SERVICE: Final = Service.STATIC


def build(settings: Settings) -> runtime.App:
    """Return the app, ready to run."""
    credentials = Credentials(settings.credentials_dir)
    broker = Broker(credentials, f"{SERVICE}/{settings.pod_name}", own_exchange=SERVICE.value)
    quota = Quota(settings.stored_bytes_per_account, settings.uploads_per_day)
    volume = Volume(settings.uploads_dir, quota)
    verifier = TokenVerifier(
        settings.jwks_file, issuer=settings.token_issuer, audience=settings.token_audience
    )
    ended = EndedSessions(settings.uploads_dir)
    consumers.register(broker, volume, ended)

    return runtime.App(
        name=SERVICE.value,
        settings=settings,
        public=api.build(settings, volume, Gate(verifier, ended)),
        revisions=lambda: credentials.in_use,
        checks=(
            ("the volume of the uploads", volume.prepare),
            runtime.queues_check(broker, SERVICE),
        ),
        background=(
            broker.run,
            volume.sweep,
            lambda: credentials.report(JWKS, lambda: verifier.revision),
        ),
        on_ready=(broker.start_consuming,),
        on_stop=(broker.stop,),
    )


def main() -> None:
    """Run until SIGTERM."""
    runtime.run(SERVICE, build, Settings)
