"""Which calls to the API server the e2e suite fails, and how."""

import pytest

from ashchat_e2e import sampling
from ashchat_e2e.fault_proxy import Fault, Traffic, Tried

PATH = "/apis/ashchat.dev/v1alpha1/namespaces/x"


def traffic_with(*writes: int) -> Traffic:
    """Return passes with this many writes each; the last one is in progress."""
    traffic = Traffic()
    traffic.begin()
    for count in writes:
        traffic.count("GET", f"{PATH}/ashchats/demo")
        traffic.count("GET", f"{PATH}/secrets")
        for _ in range(count):
            traffic.count("PATCH", f"{PATH}/secrets/one")
    return traffic


@pytest.mark.parametrize("calls", [1, 3, 40])
def test_all_is_every_call_with_every_fault(calls: int) -> None:
    cases = Tried.ALL.cases({"one": calls, "other": 2})
    assert len(set(cases)) == len(cases) == (calls + 2) * len(Fault)


def test_each_is_every_call_once_and_the_faults_in_turn() -> None:
    cases = Tried.EACH.cases({"one": 40, "other": 2})
    assert [case[:2] for case in cases] == [
        *(("one", number) for number in range(40)),
        ("other", 0),
        ("other", 1),
    ]
    assert {fault for _, _, fault in cases} == set(Fault)


def test_few_has_every_fault_once_on_a_call_that_the_seed_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = {"one": 20, "other": 10, "third": 10}
    drawn = set()
    for number in range(30):
        monkeypatch.setattr(sampling, "seed", lambda number=number: str(number))
        cases = Tried.FEW.cases(calls)
        assert cases == Tried.FEW.cases(calls)
        assert [fault for _, _, fault in cases] == list(Fault)
        assert sorted(sweep for sweep, _, _ in cases) == sorted(2 * list(calls))
        drawn |= {case[:2] for case in cases}
    assert drawn <= {(sweep, number) for sweep, count in calls.items() for number in range(count)}
    assert len(drawn) > 30


def test_a_shorter_sweep_draws_its_faults_too(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = set()
    for number in range(30):
        monkeypatch.setattr(sampling, "seed", lambda number=number: str(number))
        faults = [fault for _, _, fault in Tried.FEW.cases({"one": 9}, few=3)]
        assert len(set(faults)) == 3
        drawn |= set(faults)
    assert drawn == set(Fault)


def test_the_sweep_is_one_of_three_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASHCHAT_API_FAULTS", raising=False)
    monkeypatch.delenv("ASHCHAT_SOAK", raising=False)
    assert Tried.wanted() is Tried.FEW
    monkeypatch.setenv("ASHCHAT_SOAK", "1")
    assert Tried.wanted() is Tried.EACH
    monkeypatch.setenv("ASHCHAT_API_FAULTS", "each")
    assert Tried.wanted() is Tried.EACH
    monkeypatch.setenv("ASHCHAT_API_FAULTS", "1")
    with pytest.raises(ValueError, match="'1'"):
        Tried.wanted()


@pytest.mark.parametrize(
    ("writes", "distinct"),
    [
        ((0, 3, 0, 0, 0), 2 + 5 + 2),
        ((3, 0, 0), 5 + 2),
        ((0, 0, 0), 2),
        ((3, 0), 5 + 2),
        ((3,), 5),
        ((), 0),
    ],
    ids=["quiet before", "writes first", "no writes", "one quiet", "still writing", "nothing"],
)
def test_repeated_passes_count_once(writes: tuple[int, ...], distinct: int) -> None:
    assert len(traffic_with(*writes).distinct()) == distinct


def test_two_whole_passes_without_a_write_are_settled() -> None:
    assert traffic_with(3, 0, 0, 0).settled()
    assert not traffic_with(3, 0, 0).settled()
    assert not traffic_with(0, 0, 3, 0).settled()
