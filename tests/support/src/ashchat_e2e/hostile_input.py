"""Hostile variants of valid JSON, drawn with a seed: what parsers and rules of others fell for."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any, Final

Json = Any

DEEP: Final = 200
"""Levels of nesting; Python's own parser gives up at about 1,000."""


def _nested(levels: int) -> Json:
    value: Json = 0
    for _ in range(levels):
        value = [value]
    return value


VALUES: Final[tuple[Json, ...]] = (
    None, True, 0, -1, 1.5, 2**31, 2**63, -(2**64), 1e308, 10**300,
    "", " ", "0", "null", "\x00", "\x1b[2J", "\r\nX: y", "\ud800", "\u202e\u2066a", "\u200b",
    "a" * 5_000, "😀" * 1_000, "\u0301" * 1_000, "ß" * 200, "{{7*7}}", "${a}", "%s%n", "../../etc",
    "a@b@c", "a@" + "b." * 60 + "c", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00",
    "2026-02-30T00:00:00Z", "zz-Zzzz-ZZ-x-" + "a" * 3_000, "-" * 300, "*:" * 100,
    [], {}, [[]], {"$gt": ""}, {"": {}}, {"__proto__": 1}, {"v": 2}, ["a"] * 500, _nested(DEEP),
)  # fmt: skip
"""Values instead of any other: of the wrong type, too large, too long, or with a meaning."""

TEXTS: Final = (
    "", "null", "[]", "{", '"', "[1,2,3,4]", "[null,null,null,null,null]", "[" * 5_000,
    '{"a":' * 5_000, "NaN", "1" * 5_000, "\ufeff[]", '["j","f","chat:x","phx_join",{}] ',
    '{"v":1,"v":2}', "\x00",
)  # fmt: skip
"""Texts that are not what was expected, or not JSON at all."""


def variants(valid: Json, count: int, seed: str) -> Iterator[str]:
    """Yield texts near a valid value: with one to three parts replaced, removed, added or cut.

    Args:
        valid: An object or an array.
        count: How many.
        seed: The same seed gives the same variants.
    """
    draw = random.Random(seed)  # noqa: S311 (a sample, not a secret)
    for _ in range(count):
        if draw.random() < 0.1:
            yield draw.choice(TEXTS)
            continue
        changed = copy.deepcopy(valid)
        for _ in range(draw.randint(1, 3)):
            changed = _changed(changed, draw)
        text = json.dumps(changed)
        yield text[: draw.randrange(len(text))] if draw.random() < 0.1 else text


def objects(valid: dict[str, Json], count: int, seed: str) -> Iterator[dict[str, Json]]:
    """Yield objects near a valid one: with one to three parts replaced, removed or added.

    Args:
        valid: An object.
        count: How many.
        seed: The same seed gives the same objects.
    """
    draw = random.Random(seed)  # noqa: S311 (a sample, not a secret)
    found = 0
    while found < count:
        changed: Json = valid
        for _ in range(draw.randint(1, 3)):
            changed = _changed(copy.deepcopy(changed), draw)
        if isinstance(changed, dict) and changed != valid:
            yield changed
            found += 1


def _changed(value: Json, draw: random.Random) -> Json:
    """Return a value with one part changed, at any depth."""
    if not isinstance(value, (dict, list)) or not value or draw.random() < 0.1:
        return copy.deepcopy(draw.choice(VALUES))
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw.choice(keys)
    how = draw.random()
    if how < 0.2:
        del value[key]
    elif how < 0.3 and isinstance(value, dict):
        value[draw.choice(["extra", "", "__class__", "$where", "\x00"])] = draw.choice(VALUES)
    elif how < 0.3 and isinstance(value, list):
        value.insert(key, draw.choice(VALUES))
    else:
        value[key] = _changed(value[key], draw)
    return value
