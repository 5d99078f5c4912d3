"""Hostile variants: repeatable, various, and bounded."""

import json

from ashchat_e2e.hostile_input import objects, variants

VALID = {"v": 1, "user": {"name": "Ana", "tags": ["a", "b"]}, "at": "2026-01-01T00:00:00Z"}


def test_a_seed_repeats_its_variants_and_leaves_the_valid_value_alone() -> None:
    before = json.dumps(VALID)
    assert list(variants(VALID, 50, "one")) == list(variants(VALID, 50, "one"))
    assert list(variants(VALID, 50, "one")) != list(variants(VALID, 50, "two"))
    assert json.dumps(VALID) == before


def test_variants_differ_from_the_valid_value_and_from_each_other() -> None:
    found = list(variants(VALID, 300, "a seed"))
    assert json.dumps(VALID) not in found
    assert len(set(found)) > 200
    assert max(map(len, found)) < 64 * 1024


def test_some_variants_are_objects_of_the_same_fields_and_some_are_not_json() -> None:
    kinds = set()
    for text in variants(VALID, 300, "a seed"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            kinds.add("not JSON")
        else:
            same = isinstance(value, dict) and value.keys() == VALID.keys()
            kinds.add("the same fields" if same else type(value).__name__)
    assert {"not JSON", "the same fields", "dict", "list"} <= kinds


def test_objects_stay_objects_and_most_keep_their_fields() -> None:
    found = list(objects(VALID, 300, "a seed"))
    assert found == list(objects(VALID, 300, "a seed"))
    assert VALID not in found
    assert sum(each.keys() == VALID.keys() for each in found) > 100
    assert list(objects({}, 20, "a seed"))
