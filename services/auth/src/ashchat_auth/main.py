"""Wiring of the auth service: settings and credentials in, an app out."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import Gauge

from ashchat_auth import api, common_passwords
from ashchat_auth.keys import SigningKeys
from ashchat_auth.limits import AuthLimits
from ashchat_auth.models import KeyRingMissingError
from ashchat_auth.passwords import Argon2
from ashchat_auth.requests import RabbitRequests
from ashchat_auth.resets import RedisResets
from ashchat_auth.service import Auth, Lifetimes
from ashchat_auth.service import build as build_flows
from ashchat_auth.service.ports import Ports
from ashchat_auth.service.resealing import Resealing
from ashchat_auth.settings import Settings
from ashchat_auth.store import MongoStore
from ashchat_auth.vault import Vault
from ashchat_core import runtime
from ashchat_core.admission.counters import RedisCounters
from ashchat_core.admission.gate import Admission
from ashchat_core.amqp import Broker, BrokerUnavailableError, PublishError
from ashchat_core.credentials import POLL_SECONDS, Credentials
from ashchat_core.mongo import Mongo, unavailable
from ashchat_core.redis import Redis
from ashchat_core.tokens import JWKS, SIGNING_KEYS
from ashchat_core.topology import COUNTERS, Service

SERVICE: Final = Service.AUTH
SWEEP_SECONDS: Final = 5.0

RESEAL_AGAIN_SECONDS: Final = 10.0
"""Interval between two attempts to re-encrypt what a retiring key still seals."""

_SEALED = Gauge(
    "ashchat_auth_sealed_secrets",
    "Secrets sealed with each version of the key ring, when it last changed, at most 20000",
    ["version"],
)


def build(settings: Settings) -> runtime.App:
    """Return the app, ready to run."""
    credentials = Credentials(settings.credentials_dir)
    broker = Broker(credentials, f"{SERVICE}/{settings.pod_name}", own_exchange=SERVICE.value)
    mongo = Mongo(credentials)
    redis = Redis(credentials)
    counters = Redis(credentials, COUNTERS)
    store = MongoStore(mongo, event_life=timedelta(days=settings.security_event_days))
    signer = SigningKeys(
        settings.signing_keys_dir,
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        minutes=settings.access_token_minutes,
    )
    passwords = Argon2()
    vault = Vault(settings.key_ring_dir)
    auth = build_flows(
        Ports(
            store=store,
            requests=RabbitRequests(broker, settings.pod_name),
            passwords=passwords,
            common_passwords=common_passwords.load(),
            signer=signer,
            limits=AuthLimits(Admission(RedisCounters(counters, "auth:admission")), settings),
            resets=RedisResets(redis),
            vault=vault,
        ),
        lifetimes=Lifetimes(
            refresh=timedelta(days=settings.refresh_token_days),
            session=timedelta(days=settings.session_days),
        ),
        issuer=settings.product_name,
    )

    async def signing_keys() -> None:
        signer.jwks()

    return runtime.App(
        name=SERVICE.value,
        settings=settings,
        public=api.build(settings, auth, signer),
        revisions=lambda: credentials.in_use,
        checks=(
            ("signing keys", signing_keys),
            ("a first hash", passwords.prepare),
            ("MongoDB", mongo.ping),
            ("MongoDB's indexes", store.create_indexes),
            ("Redis", redis.ping),
            runtime.queues_check(broker, SERVICE),
        ),
        background=(
            broker.run,
            mongo.watch,
            redis.watch,
            counters.watch,
            lambda: _sweep(auth),
            lambda: _report(vault, credentials),
            lambda: credentials.report(JWKS, lambda: signer.revision),
            lambda: credentials.report(SIGNING_KEYS, lambda: signer.active),
            lambda: _reseal(vault, store, credentials),
        ),
        on_stop=(auth.events.drain, broker.stop),
        on_close=(counters.close, redis.close, mongo.close),
    )


async def _sweep(auth: Auth) -> None:
    """Do what requests left over, regularly; until cancelled."""
    log = structlog.get_logger("outbox")
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            count = await auth.outbox.sweep()
        except (BrokerUnavailableError, PublishError) as error:
            log.info("sweep postponed", kind=type(error).__name__)
        except Exception as error:
            if not unavailable(error):
                raise
            log.info("sweep postponed", kind=type(error).__name__)
        else:
            if count:
                log.info("remove_due", accounts=count)


async def _report(vault: Vault, credentials: Credentials) -> None:
    """Report which key ring is in use; without one, only two-factor requests fail."""
    log = structlog.get_logger("vault")
    before: str | None = None
    while True:
        revision = vault.revision
        if revision != before:
            credentials.use("key-ring", revision)
            if revision:
                log.info("key ring in use", revision=revision)
            else:
                log.error("the key ring is not usable: two-factor requests get 503")
            before = revision
        await asyncio.sleep(POLL_SECONDS)


async def _reseal(vault: Vault, store: MongoStore, credentials: Credentials) -> None:
    """Re-encrypt what a retiring key sealed, whenever the ring changes.

    The reported revision `at-rest` means that a pass which began with this ring left nothing
    sealed with a retiring key. The operator deletes a key once every pod reports it.
    """
    log = structlog.get_logger("vault")
    resealing = Resealing(store, vault)
    done = ""
    while True:
        revision = vault.revision
        if revision and revision != done:
            try:
                left = await resealing.run()
                retiring = vault.retiring()
            except KeyRingMissingError:
                log.info("sweep postponed", kind="KeyRingMissingError")
            except Exception as error:
                if not unavailable(error):
                    raise
                log.info("sweep postponed", kind=type(error).__name__)
            else:
                _SEALED.clear()
                for version, count in left.items():
                    _SEALED.labels(version).set(count)
                if revision == vault.revision and not any(left.get(x) for x in retiring):
                    credentials.use("at-rest", revision)
                    done = revision
                else:
                    await asyncio.sleep(RESEAL_AGAIN_SECONDS)
        await asyncio.sleep(POLL_SECONDS)


def main() -> None:
    """Run until SIGTERM."""
    runtime.run(SERVICE, build, Settings)
