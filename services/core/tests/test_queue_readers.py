"""What the services read, all of them together: each queue by its reader, and within bounds."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

import ashchat_chat.consumers
import ashchat_email.consumers
import ashchat_static.consumers
import ashchat_translate.consumers
from ashchat_core import topology
from ashchat_core.amqp import Broker
from ashchat_core.credentials import Credentials
from ashchat_core.topology import QUEUES, Service
from ashchat_translate.settings import Settings as TranslateSettings

PREFETCH_MAX = 50
"""More than a pod can have in hand in the time it gets to stop."""

READ_AHEAD_MAX = {Service.TRANSLATE: 200}
"""Services that read further, to let accounts take turns; the broker redelivers what they do not
finish."""


def chat(broker: Broker) -> None:
    ashchat_chat.consumers.register_people(broker, Mock())
    ashchat_chat.consumers.register_endings(broker, Mock(), Mock())
    ashchat_chat.consumers.register_translations(broker, Mock())


def translate(broker: Broker) -> None:
    prefetch = TranslateSettings.model_fields["translate_prefetch"].default
    ashchat_translate.consumers.register(broker, Mock(), prefetch=prefetch)


REGISTRATIONS: dict[Service, Callable[[Broker], None]] = {
    Service.AUTH: lambda _: None,  # it reads its own reply queues only
    Service.EMAIL: lambda broker: ashchat_email.consumers.register(broker, Mock()),
    Service.CHAT: chat,
    Service.TRANSLATE: translate,
    Service.STATIC: lambda broker: ashchat_static.consumers.register(broker, Mock(), Mock()),
}


def read_by(service: Service, folder: Path) -> Broker:
    broker = Broker(Credentials(folder), service, own_exchange=service)
    REGISTRATIONS[service](broker)
    return broker


@pytest.mark.parametrize("service", Service)
def test_a_service_reads_each_of_its_queues_once_and_no_other(
    service: Service, tmp_path: Path
) -> None:
    read = sorted(consumer.queue for consumer in read_by(service, tmp_path)._consumers)
    assert read == sorted(spec.name for spec in QUEUES if spec.reader is service)


@pytest.mark.parametrize("service", Service)
def test_nobody_takes_a_whole_queue_at_once(service: Service, tmp_path: Path) -> None:
    # 0 would mean no bound at all.
    for consumer in read_by(service, tmp_path)._consumers:
        maximum = READ_AHEAD_MAX.get(service, PREFETCH_MAX)
        assert 0 < consumer.prefetch <= maximum, consumer.queue


def test_a_message_that_kills_its_consumer_is_not_redelivered_forever() -> None:
    policies = {policy.queue: policy.definition for policy in topology.policies()}
    for spec in QUEUES:
        limit = policies[spec.name]["delivery-limit"]
        assert isinstance(limit, int), spec.name
        # Restarts are deliveries that count too: not so few that two of them lose a message.
        assert 5 <= limit <= 50, spec.name
        assert policies[spec.name]["dead-letter-exchange"] == topology.DEAD_LETTER_EXCHANGE
