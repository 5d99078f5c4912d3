"""Language tags: which are the same to a reader, and which are worth a translation."""

import re

UNKNOWN = "und"
"""BCP 47's own word for an undetermined language."""

_TAG = re.compile(r"^([A-Za-z]{2,3})((?:-[A-Za-z0-9]{2,8})*)$")


def normalise(tag: str | None) -> str:
    """Return a tag with its primary subtag in lower case; UNKNOWN for what is no tag.

    The rest of the tag is kept: Chinese needs it (zh-TW is not zh-CN).
    """
    match = _TAG.match(tag.strip()) if tag else None
    return f"{match[1].lower()}{match[2]}" if match else UNKNOWN


def same(one: str, other: str) -> bool:
    """Tell whether who reads one of them reads the other."""
    if one == other:
        return True
    if one.startswith("zh") or other.startswith("zh"):
        return False
    return _primary(one) == _primary(other)


def wanted(source: str, readers: list[str]) -> tuple[str, ...]:
    """Return the languages a text in `source` has to be translated into, sorted."""
    return tuple(
        sorted(
            {tag for tag in readers if tag != UNKNOWN and not same(tag, source)},
        )
    )


def _primary(tag: str) -> str:
    return tag.partition("-")[0]
