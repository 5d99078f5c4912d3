"""The topology table: consistent in itself, and no more rights than the table needs."""

import re

import pytest

from ashchat_core import messages, topology
from ashchat_core.topology import QUEUES, Queue, Service

WITH_BROKER = [service for service in Service if topology.permissions(service) is not None]


def may(service: Service, what: str, name: str) -> bool:
    """Match as RabbitMQ does: `re:run` finds anywhere, so the patterns must be anchored."""
    rights = topology.permissions(service)
    return rights is not None and re.search(getattr(rights, what), name) is not None


def test_every_queue_is_in_the_table_once() -> None:
    assert sorted(spec.name for spec in QUEUES) == sorted(Queue)


def test_names_are_unique() -> None:
    for names in (topology.queues(), topology.exchanges(), topology.bindings()):
        assert len(set(names)) == len(names)
    policies = [policy.name for policy in topology.policies()]
    assert len(set(policies)) == len(policies)


def test_bindings_name_only_what_is_declared() -> None:
    for binding in topology.bindings():
        assert binding.exchange in topology.exchanges()
        assert binding.queue in topology.queues()


def test_every_queue_has_exactly_one_policy() -> None:
    assert sorted(policy.queue for policy in topology.policies()) == sorted(topology.queues())


def test_a_dead_letter_may_be_looked_at_as_often_as_one_likes() -> None:
    policies = {policy.queue: policy.definition for policy in topology.policies()}
    for spec in QUEUES:
        assert policies[spec.dead] == {"delivery-limit": topology.DEAD_DELIVERY_LIMIT}


def alive() -> list[dict[str, str | int]]:
    """Return the policies of the queues that a service consumes."""
    dead = {spec.dead for spec in QUEUES}
    return [policy.definition for policy in topology.policies() if policy.queue not in dead]


def test_a_dead_letter_and_a_retry_arrive_somewhere() -> None:
    routes = {(binding.exchange, binding.routing_key) for binding in topology.bindings()}
    for definition in alive():
        route = (definition["dead-letter-exchange"], definition["dead-letter-routing-key"])
        assert route in routes


def test_at_least_once_dead_lettering_has_the_overflow_it_needs() -> None:
    for definition in alive():
        assert definition["dead-letter-strategy"] == "at-least-once"
        assert definition["overflow"] == "reject-publish"


def test_a_retry_queue_comes_back_to_its_own_queue_after_the_delay() -> None:
    retries = [spec for spec in QUEUES if spec.retry]
    assert retries
    policies = {policy.queue: policy.definition for policy in topology.policies()}
    for spec in retries:
        definition = policies[spec.retry_queue]
        assert definition["message-ttl"] == topology.RETRY_DELAY_MS
        assert definition["dead-letter-exchange"] == topology.RETRY_EXCHANGE
        back = topology.Binding(topology.RETRY_EXCHANGE, spec.name, spec.name)
        assert back in topology.bindings()


@pytest.mark.parametrize("spec", QUEUES, ids=lambda spec: spec.name)
def test_a_queue_is_read_by_its_reader_only(spec: topology.QueueSpec) -> None:
    assert [x for x in Service if may(x, "read", spec.name)] == [spec.reader]


@pytest.mark.parametrize("spec", QUEUES, ids=lambda spec: spec.name)
def test_a_queue_is_written_through_its_writers_exchange(spec: topology.QueueSpec) -> None:
    assert may(spec.writer, "write", spec.writer.value)
    assert topology.Binding(spec.writer, spec.name, spec.name) in topology.bindings()


@pytest.mark.parametrize("service", WITH_BROKER)
def test_no_service_writes_to_the_default_exchange_or_a_queue(service: Service) -> None:
    # The default exchange is called amq.default in permissions (its own name, the empty one,
    # is never asked for); writing there reaches all.
    for name in ("amq.default", *topology.queues()):
        assert not may(service, "write", name)


@pytest.mark.parametrize("service", WITH_BROKER)
def test_a_service_writes_to_no_other_services_exchange(service: Service) -> None:
    shared = {topology.AUTH_REPLIES_EXCHANGE}
    written = {name for name in topology.exchanges() if may(service, "write", name)}
    assert written - shared <= {service.value}


@pytest.mark.parametrize("service", WITH_BROKER)
def test_only_auth_declares_anything_and_only_its_reply_queues(service: Service) -> None:
    for name in (*topology.queues(), *topology.exchanges(), "anything", "authXreply.x"):
        assert not may(service, "configure", name)
    assert may(service, "configure", "auth.reply.pod-1") is (service is Service.AUTH)


def test_auth_may_bind_its_reply_queue() -> None:
    assert may(Service.AUTH, "write", "auth.reply.pod-1")
    assert may(Service.AUTH, "read", "auth.reply.pod-1")
    assert may(Service.AUTH, "read", topology.AUTH_REPLIES_EXCHANGE)
    assert not may(Service.AUTH, "write", topology.AUTH_REPLIES_EXCHANGE)


def test_those_who_answer_auth_may_write_to_its_replies() -> None:
    writers = {x for x in Service if may(x, "write", topology.AUTH_REPLIES_EXCHANGE)}
    assert writers == {Service.EMAIL, Service.CHAT}


def test_static_only_reads_what_is_for_it() -> None:
    names = (*topology.queues(), *topology.exchanges())
    assert [name for name in names if may(Service.STATIC, "write", name)] == []
    reads = [name for name in names if may(Service.STATIC, "read", name)]
    assert sorted(reads) == ["ACCOUNT_DELETION_STATIC_QUEUE", "SESSION_REVOKED_STATIC_QUEUE"]


def test_redis_grants_do_not_overlap() -> None:
    for cache in (False, True):
        grants = [grant for grant in topology.REDIS_GRANTS if grant.cache is cache]
        keys = [key for grant in grants for key in grant.keys]
        assert len(set(keys)) == len(keys)
    for grant in topology.REDIS_GRANTS:
        assert all(key.startswith(f"{grant.service}:") for key in (*grant.keys, *grant.channels))


def test_what_is_published_and_expected_is_what_the_table_has() -> None:
    topology.check_body(Queue.TRANSLATE, messages.TranslateJob)
    topology.check_body("auth.reply.pod-1", messages.AccountConfirmed)
    with pytest.raises(TypeError, match="TRANSLATE_QUEUE has messages of TranslateJob"):
        topology.check_body(Queue.TRANSLATE, messages.TranslationResult)
    topology.check_reply(Queue.CONFIRM_NEW_ACCOUNT, messages.AccountConfirmed)
    for queue in (Queue.CONFIRM_EMAIL_CODE, Queue.TRANSLATE):
        with pytest.raises(TypeError, match="not answered by AccountConfirmed"):
            topology.check_reply(queue, messages.AccountConfirmed)
