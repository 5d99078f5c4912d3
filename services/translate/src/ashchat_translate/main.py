"""Wiring of the translate service: settings and credentials in, an app out."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from ashchat_core import runtime
from ashchat_core.admission.counters import RedisCounters
from ashchat_core.admission.gate import Admission
from ashchat_core.amqp import Broker
from ashchat_core.credentials import Credentials
from ashchat_core.redis import Redis
from ashchat_core.topology import Service
from ashchat_translate import consumers, metrics
from ashchat_translate.breaker import Breaker, State
from ashchat_translate.budgets import Budgets
from ashchat_translate.chain import Link
from ashchat_translate.providers import Provider
from ashchat_translate.service import Translator
from ashchat_translate.settings import ProviderName, Settings
from ashchat_translate.store import RedisCache

SERVICE: Final = Service.TRANSLATE


def build(settings: Settings) -> runtime.App:
    """Return the app, ready to run."""
    credentials = Credentials(settings.credentials_dir)
    broker = Broker(credentials, f"{SERVICE}/{settings.pod_name}", own_exchange=SERVICE.value)
    redis = Redis(credentials)
    cache = RedisCache(redis, keep_seconds=settings.translate_cache_seconds)
    background: list[Callable[[], Awaitable[None]]] = [broker.run, cache.run]
    on_close: list[Callable[[], Awaitable[None]]] = [redis.close]

    def provider(name: ProviderName) -> Provider:
        # Imported only if chosen: Google's library takes 67 MB of memory.
        match name:
            case "apertium":
                from ashchat_translate.providers.apertium import Apertium

                apertium = Apertium(settings.apertium_url, timeout=settings.translate_call_seconds)
                background.append(apertium.watch)
                on_close.append(apertium.close)
                return apertium
            case "google":
                from ashchat_translate.providers.google import Google

                google = Google(
                    credentials,
                    project=settings.google_project,
                    location=settings.google_location,
                    endpoint=settings.google_endpoint,
                    ca_file=Path(settings.google_ca_file) if settings.google_ca_file else None,
                    timeout=settings.translate_call_seconds,
                )
                background.append(google.watch)
                on_close.append(google.close)
                return google

    def link(name: ProviderName) -> Link:
        def changed(state: State) -> None:
            metrics.BREAKER.labels(name).set(state)

        return Link(provider(name), Breaker(on_change=changed))

    names = dict.fromkeys(
        name for name in (settings.translate_provider, settings.translate_fallback) if name
    )
    translator = Translator(
        [link(name) for name in names],
        cache,
        Budgets(
            Admission(RedisCounters(redis, "translate:admission")),
            account_characters_per_day=settings.characters_per_account_per_day,
            paid_characters_per_day={"google": settings.google_characters_per_day},
        ),
        call_seconds=settings.translate_call_seconds,
        hold_seconds=settings.translate_hold_seconds,
    )
    consumers.register(broker, translator, prefetch=settings.translate_prefetch)

    return runtime.App(
        name=SERVICE.value,
        settings=settings,
        public=None,
        revisions=lambda: credentials.in_use,
        # Neither the cache nor the provider: without them the original is shown.
        checks=(runtime.queues_check(broker, SERVICE),),
        background=background,
        on_ready=(broker.start_consuming,),
        on_stop=(broker.stop,),
        on_close=on_close,
    )


def main() -> None:
    """Run until SIGTERM."""
    runtime.run(SERVICE, build, Settings)
