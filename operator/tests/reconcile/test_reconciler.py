"""What a Reconciler remembers of a resource goes with it."""

from typing import Any

import pytest

from ashchat_operator.credentials.trials import Trials
from ashchat_operator.reconcile.declare import Declarer
from ashchat_operator.reconcile.reconciler import Pace, Reconciler
from operator_rendering import CONTEXT, resource

KEY, OTHER = ("team", "small"), ("team", "large")


def nothing() -> None:
    """Wake nobody."""


@pytest.fixture
def reconciler() -> Reconciler:
    """Know two resources in every way in which one can be known."""
    unused: Any = None
    result = Reconciler(unused, CONTEXT, unused, version="1", pace=Pace(settled=20, progressing=1))
    result.references.note(resource("minimal"))
    for key in (KEY, OTHER):
        result._unsettled[key] = 3
        result._proven[key] = frozenset()
        result._trials[key] = Trials(nothing)
        result._declarers[key] = Declarer(nothing, result._turns)
        list(result._drift.corrected(key, [], []))
    return result


def held(reconciler: Reconciler) -> dict[str, set[Any]]:
    """Return the keys of all that is kept by resource, here and one level down."""
    parts: dict[str, Any] = dict(vars(reconciler))
    for name in ("references", "_drift", "_turns"):
        parts |= {f"{name}.{inner}": x for inner, x in vars(parts[name]).items()}
    return {name: set(part) for name, part in parts.items() if isinstance(part, dict)}


async def test_of_a_resource_that_is_gone_nothing_is_kept(reconciler: Reconciler) -> None:
    """A name used again would begin with what was true of another."""
    before = held(reconciler)
    assert {name for name, keys in before.items() if KEY in keys} == {
        "_declarers",
        "_trials",
        "_unsettled",
        "_proven",
        "_drift._wanted",
        "references._names",
    }
    await reconciler.forget(*KEY)
    after = held(reconciler)
    assert [name for name, keys in after.items() if KEY in keys] == []
    assert all(after[name] == keys - {KEY} for name, keys in before.items())
    await reconciler.close()


async def test_all_that_goes_on_ends_with_the_process(reconciler: Reconciler) -> None:
    del reconciler._trials[KEY], reconciler._declarers[OTHER]
    await reconciler.close()
    after = held(reconciler)
    assert not after["_declarers"]
    assert not after["_trials"]
