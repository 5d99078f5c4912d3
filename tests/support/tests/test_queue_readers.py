"""What the services read, all of them together: each queue by its reader, and within bounds."""

from pathlib import Path

import pytest

from ashchat_core import topology
from ashchat_core.topology import QUEUES, QueueSpec, Service
from ashchat_e2e.queue_readers import consumers, example

PREFETCH_MAX = 50
"""More than a pod can have in hand in the time it gets to stop."""

READ_AHEAD_MAX = {Service.TRANSLATE: 200}
"""Services that read further, to let accounts take turns; the broker redelivers what they do not
finish."""


@pytest.mark.parametrize("service", Service)
def test_a_service_reads_each_of_its_queues_once_and_no_other(
    service: Service, tmp_path: Path
) -> None:
    read = sorted(consumer.queue for consumer in consumers(service, tmp_path))
    assert read == sorted(spec.name for spec in QUEUES if spec.reader is service)


@pytest.mark.parametrize("service", Service)
def test_nobody_takes_a_whole_queue_at_once(service: Service, tmp_path: Path) -> None:
    # 0 would mean no bound at all.
    for consumer in consumers(service, tmp_path):
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


@pytest.mark.parametrize("spec", QUEUES, ids=lambda spec: spec.name)
def test_there_is_a_valid_example_for_each_queue(spec: QueueSpec) -> None:
    spec.body.model_validate(example(spec.body))
