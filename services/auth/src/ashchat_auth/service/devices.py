"""The confirmed devices of an account, which chat stores as well."""

from collections.abc import Sequence
from datetime import datetime

from ashchat_auth.models import Device, Due, SecurityEvent, User
from ashchat_auth.service.ports import Changes
from ashchat_core.messages import ConfirmedDevice, DevicesChanged
from ashchat_core.topology import Queue


def devices_changed(
    user: User, devices: Sequence[Device], *, at: datetime, event: SecurityEvent | None = None
) -> tuple[Changes, Due]:
    """Return how the devices of an account change, and what is due because of it.

    The message has all devices and a version, so that messages may be repeated or arrive in any
    order. The write must require that `devices_version` is still the one of `user`.
    """
    version = user.devices_version + 1
    message = DevicesChanged(
        user_id=user.id,
        version=version,
        devices=tuple(
            ConfirmedDevice(
                device_token_hash=one.device_hash, notification_token=one.notification_token
            )
            for one in devices
        ),
    )
    due = Due.for_message(
        Queue.CHANGE_DEVICE_TOKEN,
        message,
        id=f"devices.{user.id}.{version}",
        at=at,
        event=event,
    )
    return Changes(devices=tuple(devices), devices_version=version), due
