"""What chat hears from the other services. Every handler may be called twice for a message."""

import structlog

from ashchat_chat.ports import StoreAway
from ashchat_chat.rooms import NoSuchMessage, Rooms
from ashchat_chat.service import Chats, Device
from ashchat_core.amqp import Broker, Delivery, DependencyDown, PublishError, Reject
from ashchat_core.messages import (
    AccountConfirmed,
    ChangeDeviceToken,
    ConfirmNewAccount,
    TranslationResult,
)
from ashchat_core.topology import AUTH_REPLIES_EXCHANGE, Queue

PREFETCH = 32


def register(broker: Broker, chats: Chats, rooms: Rooms) -> None:
    """Consume the three queues."""
    log = structlog.get_logger("consumers")

    async def confirm_account(delivery: Delivery[ConfirmNewAccount]) -> None:
        body = delivery.body
        try:
            tag = await chats.confirm_account(
                user_id=body.user_id,
                nickname=body.nickname,
                language=body.preferred_language,
                device=Device(body.device_token_hash, body.notification_token),
            )
        except StoreAway as error:
            raise DependencyDown("MongoDB") from error
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
            # The pod that asked is gone, and its queue with it; the profile is there.
            log.info("nobody waits for the answer", queue=Queue.CONFIRM_NEW_ACCOUNT.value)

    async def change_device(delivery: Delivery[ChangeDeviceToken]) -> None:
        body = delivery.body
        try:
            await chats.add_device(
                body.user_id, Device(body.device_token_hash, body.notification_token)
            )
        except StoreAway as error:
            raise DependencyDown("MongoDB") from error

    async def translated(delivery: Delivery[TranslationResult]) -> None:
        body = delivery.body
        try:
            await rooms.translated(
                message=body.message,
                text_version=body.text_version,
                target=body.target,
                outcome=body.outcome,
                text=body.text,
                provider=body.provider,
                reason=body.reason,
            )
        except StoreAway as error:
            raise DependencyDown("MongoDB") from error
        except NoSuchMessage as error:
            raise Reject("no such message") from error

    broker.consume(
        Queue.CONFIRM_NEW_ACCOUNT.value, ConfirmNewAccount, confirm_account, prefetch=PREFETCH
    )
    broker.consume(
        Queue.CHANGE_DEVICE_TOKEN.value, ChangeDeviceToken, change_device, prefetch=PREFETCH
    )
    broker.consume(Queue.TRANSLATED.value, TranslationResult, translated, prefetch=PREFETCH)
