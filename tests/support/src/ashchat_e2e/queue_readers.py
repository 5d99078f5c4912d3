"""Which service reads which queue: the registrations of the services themselves."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from unittest.mock import Mock

import ashchat_chat.adapters.consumers
import ashchat_email.consumers
import ashchat_static.consumers
import ashchat_translate.consumers
from ashchat_core.amqp import Broker
from ashchat_core.credentials import Credentials
from ashchat_core.deliveries import Consumer
from ashchat_core.messages import Message
from ashchat_core.topology import Service
from ashchat_translate.settings import Settings as TranslateSettings


def _chat(broker: Broker) -> None:
    ashchat_chat.adapters.consumers.register_people(broker, Mock())
    ashchat_chat.adapters.consumers.register_endings(broker, Mock(), Mock())
    ashchat_chat.adapters.consumers.register_translations(broker, Mock())


def _translate(broker: Broker) -> None:
    prefetch = TranslateSettings.model_fields["translate_prefetch"].default
    ashchat_translate.consumers.register(broker, Mock(), prefetch=prefetch)


_REGISTRATIONS: Final[dict[Service, Callable[[Broker], None]]] = {
    Service.AUTH: lambda _: None,  # it reads its own reply queues only
    Service.EMAIL: lambda broker: ashchat_email.consumers.register(broker, Mock()),
    Service.CHAT: _chat,
    Service.TRANSLATE: _translate,
    Service.STATIC: lambda broker: ashchat_static.consumers.register(broker, Mock(), Mock()),
}


def consumers(service: Service, folder: Path) -> frozenset[Consumer]:
    """Return what a service registers, without a connection.

    Args:
        service: The service.
        folder: An empty directory, instead of its credentials.
    """
    broker = Broker(Credentials(folder), service, own_exchange=service)
    _REGISTRATIONS[service](broker)
    return frozenset(broker._consumers)


def example(model: type[Message]) -> dict[str, Any]:
    """Return a valid body: of every field the first choice, or a short value of its type."""
    schema = model.model_json_schema()
    body: dict[str, Any] = example_of(schema, schema.get("$defs", {}))
    return body


_OF_TYPE: Final[dict[str, Any]] = {"integer": 1, "number": 1, "boolean": True, "string": "x1"}
_OF_FORMAT: Final = {"date-time": "2026-01-01T00:00:00Z"}


def example_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """Return a valid value of a JSON schema.

    Args:
        schema: The schema, or a reference to a definition.
        definitions: The definitions by name.
    """
    if examples := schema.get("examples"):
        return examples[0]
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if alternatives := schema.get("anyOf", schema.get("oneOf")):
        return example_of(alternatives[0], definitions)
    if constants := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return constants[0]
    if schema["type"] == "object":
        fields = schema.get("properties", {})
        return {name: example_of(field, definitions) for name, field in fields.items()}
    if schema["type"] == "array":
        return [example_of(schema["items"], definitions)]
    simple = _OF_FORMAT.get(schema.get("format", ""), _OF_TYPE[schema["type"]])
    return schema.get("minimum", simple)
