"""The consumers of chat. Every handler may be called twice for a message."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from redis.exceptions import RedisError

from ashchat_chat.rooms.appending import Appender
from ashchat_chat.rooms.errors import NoSuchMessageError
from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_chat.users.deletion import Deletion
from ashchat_chat.users.profiles import Device, NoProfileError, Profiles
from ashchat_chat.users.revocations import Revocations, epochs_over, session_over
from ashchat_core.amqp import (
    Broker,
    Delivery,
    DependencyDownError,
    PublishError,
    RejectError,
    RetryError,
)
from ashchat_core.deliveries import RETRY_LIMIT
from ashchat_core.messages import (
    AccountConfirmed,
    AccountDeletion,
    ConfirmNewAccount,
    DevicesChanged,
    ProfileChanged,
    SessionRevoked,
    TranslationResult,
)
from ashchat_core.topology import AUTH_REPLIES_EXCHANGE, Queue

PREFETCH = 32
DELETIONS = 2
"""Maximum concurrent deletions of accounts: each may have long logs to process."""


@contextmanager
def _held_while_away() -> Iterator[None]:
    """Hold a message while a backend is unavailable.

    Raises:
        DependencyDownError: a backend is unavailable.
    """
    try:
        yield
    except StoreUnavailableError as error:
        raise DependencyDownError("MongoDB") from error
    except (RedisError, OSError) as error:
        raise DependencyDownError("Redis") from error


def register_people(broker: Broker, profiles: Profiles) -> None:
    """Register the consumers of new accounts, devices and profile changes."""
    log = structlog.get_logger("consumers")

    async def confirm_account(delivery: Delivery[ConfirmNewAccount]) -> None:
        body = delivery.body
        with _held_while_away():
            tag = await profiles.confirm_account(
                user_id=body.user_id,
                nickname=body.nickname,
                language=body.preferred_language,
                device=Device(body.device_token_hash, body.notification_token),
            )
        if tag is None:
            log.info("an account arrived after its deletion", queue=Queue.CONFIRM_NEW_ACCOUNT.value)
            return
        if not delivery.reply_to:
            return
        try:
            await broker.publish(
                AUTH_REPLIES_EXCHANGE,
                delivery.reply_to,
                AccountConfirmed(user_id=body.user_id, tag_user_id=tag),
                message_id=f"{body.user_id}.confirmed",
                correlation_id=delivery.correlation_id,
            )
        except PublishError:
            # The pod that asked has stopped, and its queue was deleted; the profile is stored.
            log.info("no caller waits for the answer", queue=Queue.CONFIRM_NEW_ACCOUNT.value)

    async def change_devices(delivery: Delivery[DevicesChanged]) -> None:
        body = delivery.body
        devices = [Device(one.device_token_hash, one.notification_token) for one in body.devices]
        with _held_while_away():
            await profiles.set_devices(body.user_id, body.version, devices)

    async def change_profile(delivery: Delivery[ProfileChanged]) -> None:
        body = delivery.body
        try:
            with _held_while_away():
                await profiles.profile_changed(
                    body.user_id,
                    body.at,
                    nickname=body.nickname,
                    language=body.preferred_language,
                )
        except NoProfileError as error:
            # The account's own message is durable, too, and arrives through another queue.
            if delivery.attempts < RETRY_LIMIT:
                raise RetryError("the account is not known yet") from error
            raise RejectError("the account is not known") from error

    broker.consume(
        Queue.CONFIRM_NEW_ACCOUNT.value, ConfirmNewAccount, confirm_account, prefetch=PREFETCH
    )
    broker.consume(
        Queue.CHANGE_DEVICE_TOKEN.value, DevicesChanged, change_devices, prefetch=PREFETCH
    )
    broker.consume(Queue.PROFILE_CHANGED.value, ProfileChanged, change_profile, prefetch=PREFETCH)


def register_endings(broker: Broker, revocations: Revocations, deletion: Deletion) -> None:
    """Register the consumers of ended sessions and deleted accounts."""

    async def revoke_sessions(delivery: Delivery[SessionRevoked]) -> None:
        body = delivery.body
        over = [session_over(one) for one in body.session_ids]
        if body.below:
            over.append(epochs_over(body.user_id, body.below, body.but))
        with _held_while_away():
            await revocations.revoke(over)

    async def delete_account(delivery: Delivery[AccountDeletion]) -> None:
        with _held_while_away():
            await deletion.delete(delivery.body.user_id, delivery.body.at)

    broker.consume(
        Queue.SESSION_REVOKED_CHAT.value, SessionRevoked, revoke_sessions, prefetch=PREFETCH
    )
    broker.consume(
        Queue.ACCOUNT_DELETION_CHAT.value, AccountDeletion, delete_account, prefetch=DELETIONS
    )


def register_translations(broker: Broker, rooms: Appender) -> None:
    """Register the consumer of translations."""

    async def translated(delivery: Delivery[TranslationResult]) -> None:
        try:
            with _held_while_away():
                await rooms.translated(delivery.body)
        except NoSuchMessageError as error:
            raise RejectError("no such message") from error

    broker.consume(Queue.TRANSLATED.value, TranslationResult, translated, prefetch=PREFETCH)
