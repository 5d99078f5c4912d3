"""Wiring of the chat service: settings and credentials in, an app out."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from redis.exceptions import RedisError

from ashchat_chat.adapters import consumers
from ashchat_chat.adapters.mongo_store import Store
from ashchat_chat.adapters.outbox import TranslationOutbox
from ashchat_chat.adapters.photos import Photos
from ashchat_chat.adapters.redis_online import RedisOnline
from ashchat_chat.adapters.redis_pubsub import RedisPubSub
from ashchat_chat.adapters.redis_revocations import RedisRevocationLog
from ashchat_chat.adapters.redis_streams import RedisStreams
from ashchat_chat.adapters.redis_tickets import RedisUsedTickets
from ashchat_chat.channels import (
    POSITIONS_CHANNEL,
    PRESENCE_CHANNEL,
    PROFILE_CHANNEL,
    TYPING_CHANNEL,
)
from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.rooms.chats import Chats, Pending
from ashchat_chat.rooms.groups import Groups
from ashchat_chat.rooms.history import History
from ashchat_chat.rooms.ports import Position
from ashchat_chat.rooms.room_list import RoomList
from ashchat_chat.settings import Settings
from ashchat_chat.users.deletion import Deletion
from ashchat_chat.users.last_seen import LastSeen
from ashchat_chat.users.notifications import Inbox
from ashchat_chat.users.presence import Presence
from ashchat_chat.users.profile_changes import ProfileChanges
from ashchat_chat.users.profiles import Profiles
from ashchat_chat.users.revocations import Revocations
from ashchat_chat.users.text_allowances import TextAllowances
from ashchat_chat.users.typing import Typing
from ashchat_chat.wire import http
from ashchat_chat.wire.admission import Admission
from ashchat_chat.wire.rules import Rules
from ashchat_chat.wire.socket import Sockets
from ashchat_core import origins, runtime
from ashchat_core.admission.counters import RedisCounters
from ashchat_core.admission.gate import Admission as Limits
from ashchat_core.admission.requests import NetworkRequests
from ashchat_core.amqp import Broker
from ashchat_core.credentials import Credentials
from ashchat_core.mongo import Mongo
from ashchat_core.redis import Redis
from ashchat_core.tokens import JWKS, TokenVerifier
from ashchat_core.topology import COUNTERS, Service

SERVICE = Service.CHAT
AFTER_DEFECT_SECONDS = 1.0
LEEWAY_SECONDS = 300.0
"""How much longer than an access token a revoked session is stored: clocks differ."""


class _InboxStore:
    """Reads notifications through the rules of chats, and stores them in the store."""

    def __init__(self, chats: Chats, store: Store) -> None:
        self._chats = chats
        self._store = store

    async def pending(self, user: str, language: str) -> list[Pending]:
        """Return the messages that a user has not been shown, oldest first."""
        return await self._chats.pending(user, language)

    async def notified(self, received: Mapping[tuple[str, str], int]) -> None:
        """Record up to which message users have received notifications, by room and user."""
        await self._store.raise_positions(
            {member: Position(notified=n) for member, n in received.items()}
        )


def build(settings: Settings) -> runtime.App:
    """Return the app, ready to run."""
    credentials = Credentials(settings.credentials_dir)
    broker = Broker(credentials, f"{SERVICE}/{settings.pod_name}", own_exchange=SERVICE.value)
    mongo = Mongo(credentials)
    redis = Redis(credentials)
    store = Store(mongo)
    verifier = TokenVerifier(
        settings.jwks_file, issuer=settings.token_issuer, audience=settings.token_audience
    )

    def heard(channel: str, text: str) -> None:
        if channel == TYPING_CHANNEL:
            typing.heard(text)
        elif channel == POSITIONS_CHANNEL:
            rooms.positions.heard(text)
        elif channel == PRESENCE_CHANNEL:
            presence.heard(text)
        elif channel == PROFILE_CHANNEL:
            changes.heard(text)

    fanout = RedisPubSub(redis, heard=heard)
    streams = RedisStreams(redis, pod=settings.pod_name, listener=lambda: rooms.catching_up)
    online = RedisOnline(redis)
    outbox = TranslationOutbox(broker, store)
    counters = Redis(credentials, COUNTERS)
    limiter = Limits(RedisCounters(counters, "chat:admission"))
    allowances = TextAllowances(
        limiter, chars_per_day=settings.stored_characters_per_account_per_day
    )
    rooms = Rooms(store, streams, fanout, job=outbox.add, quota=allowances)
    changes = ProfileChanges(store, rooms.live, rooms.languages, fanout.publish)
    profiles = Profiles(store, changed=changes.changed)
    room_list = RoomList(store, rooms.directory)
    chats = Chats(store, rooms.directory, rooms.cache, room_list)
    groups = Groups(
        store,
        rooms.directory,
        rooms.appending,
        rooms.cache,
        members_max=settings.group_members_max,
    )
    inbox = Inbox(_InboxStore(chats, store), rooms.live, rooms.directory)
    rooms.catching_up.serve_elsewhere(inbox)
    last_seen = LastSeen(online, store, away=(RedisError, OSError))
    presence = Presence(
        online,
        lambda text: fanout.publish(PRESENCE_CHANNEL, text),
        rooms.live,
        last_seen,
        pod=settings.pod_name,
        away=(RedisError, OSError),
    )
    typing = Typing(
        rooms.live,
        lambda text: fanout.publish(TYPING_CHANNEL, text),
        pod=settings.pod_name,
    )
    keep_seconds = settings.access_token_minutes * 60 + LEEWAY_SECONDS
    revocations = Revocations(
        RedisRevocationLog(redis, keep_seconds=keep_seconds),
        keep_seconds=keep_seconds,
        away=(RedisError, OSError),
    )
    requests = NetworkRequests(settings.requests_per_network_per_minute, settings.trusted_proxies)
    sockets = Sockets(
        Rules(rooms, inbox, presence, typing, profiles, settings.pod_name),
        lambda sockets: Admission(
            verifier=verifier,
            revocations=revocations,
            tickets=RedisUsedTickets(redis),
            profiles=profiles,
            presence=presence,
            requests=requests,
            stopping=lambda: sockets.stopping,
            allowed_origins=origins.parse_list(settings.allowed_origins),
        ),
        revocations,
    )
    photos = Photos(settings.static_url, max_bytes=settings.upload_max_bytes)
    app = http.build(
        http.Rules(
            chats,
            History(store, rooms.directory),
            groups,
            rooms.directory,
            profiles,
            photos,
            limiter,
        ),
        verifier=verifier,
        revocations=revocations,
        allowed_origins=settings.allowed_origins,
        requests=requests,
    )
    deletion = Deletion(store, rooms, revocations, online)
    consumers.register_people(broker, profiles)
    consumers.register_endings(broker, revocations, deletion)
    consumers.register_translations(broker, rooms.appending)

    return runtime.App(
        name=SERVICE.value,
        settings=settings,
        public=app,
        websocket=sockets.protocol,
        revisions=lambda: credentials.in_use,
        checks=(
            ("MongoDB", store.create_indexes),
            ("Redis", redis.ping),
            ("the revoked sessions", revocations.load),
            runtime.queues_check(broker, SERVICE),
        ),
        background=(
            broker.run,
            mongo.watch,
            redis.watch,
            counters.watch,
            lambda: credentials.report(JWKS, lambda: verifier.revision),
            *map(
                _steady,
                (
                    fanout.run_publisher,
                    fanout.run_subscriber,
                    streams.run_publisher,
                    streams.run_reader,
                    streams.run_heartbeat,
                    *rooms.background(),
                    inbox.flush,
                    changes.run,
                    revocations.follow,
                    presence.run,
                    last_seen.run,
                    allowances.run,
                    outbox.run,
                    outbox.sweep,
                    sockets.sweep,
                ),
            ),
        ),
        on_ready=(broker.start_consuming,),
        # Sockets first: other pods serve their users while this pod finishes its work.
        on_stop=(
            sockets.close_all,
            last_seen.close,
            allowances.close,
            broker.stop,
            streams.leave,
        ),
        on_close=(photos.close, counters.close, redis.close, mongo.close),
    )


def _steady(run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Return a background task that continues after an error, which is logged.

    One event that a task cannot process must not close all sockets.
    """
    log = structlog.get_logger("background")

    async def forever() -> None:
        while True:
            try:
                await run()
            except Exception:
                log.exception("a background task failed", task=run.__qualname__)
            await asyncio.sleep(AFTER_DEFECT_SECONDS)

    return forever


def main() -> None:
    """Run until SIGTERM."""
    runtime.run(SERVICE, build, Settings)
