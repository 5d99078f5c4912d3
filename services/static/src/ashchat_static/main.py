"""Wiring of static: settings in, a running service out."""

from importlib.metadata import PackageNotFoundError, version

from ashchat_core import runtime
from ashchat_core.amqp import Broker
from ashchat_core.credentials import Credentials
from ashchat_core.tokens import JWKS, TokenVerifier
from ashchat_core.topology import QUEUES, Service
from ashchat_static import consumers
from ashchat_static.api import make_app
from ashchat_static.settings import StaticSettings
from ashchat_static.store import Volume

NAME = Service.STATIC.value
READS = [queue.name.value for queue in QUEUES if queue.reader is Service.STATIC]


def build(settings: StaticSettings) -> runtime.Service:
    """Return the service, ready to run."""
    credentials = Credentials(settings.credentials_dir)
    broker = Broker(credentials, f"{NAME}/{settings.pod_name}", own_exchange=NAME)
    volume = Volume(settings.uploads_dir)
    verifier = TokenVerifier(
        settings.jwks_file, issuer=settings.token_issuer, audience=settings.token_audience
    )
    consumers.register(broker, volume)

    async def topology() -> None:
        await broker.topology_ready(READS)

    return runtime.Service(
        name=NAME,
        version=_version(),
        settings=settings,
        public=make_app(settings, volume, verifier, _version()),
        revisions=lambda: credentials.in_use,
        checks=(
            ("the volume of the uploads", volume.prepare),
            ("RabbitMQ and its queues", topology),
        ),
        background=(
            broker.run,
            lambda: credentials.report(JWKS, lambda: verifier.revision),
        ),
        on_ready=(broker.start_consuming,),
        on_stop=(broker.stop,),
    )


def _version() -> str:
    try:
        return version("ashchat-static")
    except PackageNotFoundError:  # in an image the sources are on the path, not installed
        return "0.1.0"


def main() -> None:
    """Run until SIGTERM."""
    settings = StaticSettings()
    runtime.run(lambda: build(settings), name=NAME, settings=settings)
