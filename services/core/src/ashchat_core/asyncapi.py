"""AsyncAPI 3 documents (https://www.asyncapi.com/docs/reference/specification/v3.0.0).

The schemas come from the types in the code, in JSON Schema's draft 7, which AsyncAPI extends.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from ashchat_core import __version__

Schema = dict[str, Any]

VERSION: Final = "3.0.0"


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out titles that only repeat the name of a field."""

    def field_title_should_be_set(self, schema: CoreSchema | Any) -> bool:  # noqa: ARG002
        return False


def reference(kind: str, name: str) -> Schema:
    """Return a reference to a component, such as of the kind "schemas"."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schemas(types: Collection[Any]) -> dict[str, Schema]:
    """Return the schemas of types as they are on the wire, and of all that they contain, by name.

    Args:
        types: Models of pydantic or TypedDicts.
    """
    adapters = [(one.__name__, "serialization", TypeAdapter(one)) for one in types]
    _, found = TypeAdapter.json_schemas(
        adapters,  # type: ignore[arg-type]  # a literal in a tuple
        ref_template="#/components/schemas/{model}",
        schema_generator=_WithoutTitles,
    )
    definitions: dict[str, Schema] = found.get("$defs", {})
    return dict(sorted(definitions.items()))


def document(
    *,
    title: str,
    description: str,
    servers: Mapping[str, Schema],
    channels: Mapping[str, Schema],
    operations: Mapping[str, Schema],
    components: Mapping[str, Mapping[str, Schema]],
) -> Schema:
    """Return a document."""
    return {
        "asyncapi": VERSION,
        "info": {
            "title": title,
            "version": __version__,
            "description": description,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": dict(servers),
        "channels": dict(channels),
        "operations": dict(operations),
        "components": {kind: dict(parts) for kind, parts in components.items()},
    }
