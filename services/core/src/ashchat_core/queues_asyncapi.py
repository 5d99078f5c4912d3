"""The queues as an AsyncAPI document, from the topology and the models of the messages."""

import inspect
from typing import Final

from ashchat_core import asyncapi
from ashchat_core.asyncapi import Schema, reference
from ashchat_core.deliveries import ATTEMPTS_HEADER
from ashchat_core.messages import Message
from ashchat_core.topology import (
    AUTH_REPLIES_EXCHANGE,
    QUEUES,
    RETRY_DELAY_MS,
    VHOST,
    QueueSpec,
    Service,
)

_BINDING_VERSION: Final = "0.3.0"
"""Of the AMQP 0-9-1 bindings: https://github.com/asyncapi/bindings/tree/master/amqp."""

_REPLIES: Final = "replies"

_DESCRIPTION: Final = """\
The messages that the services of one AshChat exchange over RabbitMQ. A publisher uses the direct
exchange with its own name, and the queue's name as the routing key. Delivery is at least once:
`message_id` is the idempotency key. What a consumer rejects is in the queue's dead-letter queue,
`<queue>.dead`; what it postpones is in `<queue>.retry`, if the queue has one."""


def document() -> Schema:
    """Return the document."""
    bodies = [spec.body for spec in QUEUES]
    replies = [spec.reply for spec in QUEUES if spec.reply is not None]
    models = {model.__name__: model for model in (*bodies, *replies)}
    return asyncapi.document(
        title="AshChat queues",
        description=_DESCRIPTION,
        servers={
            "rabbitmq": {
                "host": "{ashchat}-rabbitmq:5672",
                "protocol": "amqp",
                "protocolVersion": "0-9-1",
                "pathname": f"/{VHOST}",
                "variables": {"ashchat": {"description": "The name of the AshChat."}},
            }
        },
        channels={spec.name.value: _channel(spec) for spec in QUEUES} | {_REPLIES: _replies()},
        operations=dict(pair for spec in QUEUES for pair in _operations(spec).items()),
        components={
            "schemas": asyncapi.schemas(models.values()),
            "messages": {name: _message(model) for name, model in models.items()},
        },
    )


def _message(model: type[Message]) -> Schema:
    lines = inspect.cleandoc(model.__doc__ or "").splitlines()
    return {
        "name": model.__name__,
        "summary": lines[0],
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {
                ATTEMPTS_HEADER: {
                    "type": "integer",
                    "minimum": 1,
                    "description": "How often it has passed through the retry queue.",
                }
            },
        },
        "correlationId": {
            "description": "Pairs an answer with its request.",
            "location": "$message.header#/correlation_id",
        },
        "payload": reference("schemas", model.__name__),
    }


def _channel(spec: QueueSpec) -> Schema:
    retry = f" Retried after {RETRY_DELAY_MS // 1000} s through {spec.retry_queue}."
    return {
        "address": spec.name.value,
        "description": f"{spec.writer} → {spec.reader}.{retry if spec.retry else ''}",
        "messages": {spec.body.__name__: reference("messages", spec.body.__name__)},
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {
                    "name": spec.name.value,
                    "durable": True,
                    "exclusive": False,
                    "autoDelete": False,
                    "vhost": VHOST,
                },
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _replies() -> Schema:
    """Return the channel of the answers: each pod of auth has a separate queue."""
    replies = [spec.reply.__name__ for spec in QUEUES if spec.reply is not None]
    return {
        "address": None,
        "description": "Answers to auth; the routing key is the `reply_to` of the request.",
        "messages": {name: reference("messages", name) for name in replies},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": AUTH_REPLIES_EXCHANGE,
                    "type": "direct",
                    "durable": True,
                    "autoDelete": False,
                    "vhost": VHOST,
                },
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _operations(spec: QueueSpec) -> dict[str, Schema]:
    return {
        f"{spec.writer}_publishes_{spec.name}": {
            **_operation("send", spec, spec.writer),
            "bindings": {
                "amqp": {"deliveryMode": 2, "mandatory": True, "bindingVersion": _BINDING_VERSION}
            },
        },
        f"{spec.reader}_consumes_{spec.name}": {
            **_operation("receive", spec, spec.reader),
            "bindings": {"amqp": {"ack": True, "bindingVersion": _BINDING_VERSION}},
        },
    }


def _operation(action: str, spec: QueueSpec, service: Service) -> Schema:
    channel = f"#/channels/{spec.name}"
    operation: Schema = {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{spec.body.__name__}"}],
        "tags": [{"name": service.value}],
    }
    if spec.reply is not None:
        replies = f"#/channels/{_REPLIES}"
        operation["reply"] = {
            "address": {"location": "$message.header#/reply_to"},
            "channel": {"$ref": replies},
            "messages": [{"$ref": f"{replies}/messages/{spec.reply.__name__}"}],
        }
    return operation
