"""Which calls to the API server the cluster suite fails, and how."""

import pytest

from ashchat_e2e.fault_proxy import Fault, Traffic, Tried

PATH = "/apis/ashchat.dev/v1alpha1/namespaces/x"


def looked(*writes: int) -> Traffic:
    """Return looks that made so many writes each; the last one is going on."""
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
    pairs = Tried.ALL.pairs(calls, some=4)
    assert len(set(pairs)) == len(pairs) == calls * len(Fault)


def test_each_is_every_call_once_and_the_faults_in_turn() -> None:
    pairs = Tried.EACH.pairs(40, some=4)
    assert [number for number, _ in pairs] == list(range(40))
    assert {fault for _, fault in pairs} == set(Fault)


def test_few_has_every_fault_and_the_one_without_an_answer_once() -> None:
    pairs = Tried.FEW.pairs(40, some=4)
    assert {fault for _, fault in pairs} == set(Fault)
    assert sum(fault is Fault.NO_ANSWER for _, fault in pairs) == 1
    assert len({number for number, _ in pairs}) > len(pairs) // 2
    assert all(0 <= number < 40 for number, _ in pairs)


def test_what_is_wanted_is_one_of_three_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASHCHAT_API_FAULTS", raising=False)
    assert Tried.wanted() is Tried.FEW
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
def test_looks_that_read_the_same_again_count_once(writes: tuple[int, ...], distinct: int) -> None:
    assert len(looked(*writes).distinct()) == distinct


def test_two_whole_looks_without_a_write_are_settled() -> None:
    assert looked(3, 0, 0, 0).settled()
    assert not looked(3, 0, 0).settled()
    assert not looked(0, 0, 3, 0).settled()
