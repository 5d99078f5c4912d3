"""A rotation followed from outside, status after status."""

from typing import Any

from ashchat_cli.follow import Follower, annotation


def status(**kinds: tuple[str, tuple[str, ...]]) -> dict[str, Any]:
    return {
        "rotation": [
            {"name": name.replace("_", "-"), "phase": phase, "handledTokens": list(handled)}
            for name, (phase, handled) in kinds.items()
        ]
    }


def test_the_annotation_names_the_kind() -> None:
    assert annotation("") == "ashchat.dev/rotate"
    assert annotation("signing-keys") == "ashchat.dev/rotate-signing-keys"


def test_phases_are_reported_with_their_durations() -> None:
    follower = Follower("s2", "", 100.0)
    assert follower.update(status(users=("Idle", ("s1",))), 100.5) == []
    assert follower.data(100.5)["done"] is False
    assert follower.update(status(users=("Adding", ("s2",))), 101.0) == ["users: Adding"]
    news = follower.update(status(users=("Proving", ("s2",))), 104.0)
    assert news == ["users: Adding took 3.0 s", "users: Proving"]
    assert follower.update(status(users=("Proving", ("s2",))), 105.0) == []
    assert follower.update(status(users=("Idle", ("s2",))), 110.0) == ["users: Proving took 6.0 s"]
    assert follower.done
    assert follower.data(111.0) == {
        "token": "s2",
        "done": True,
        "seconds": 11.0,
        "kinds": [
            {
                "name": "users",
                "phase": "Idle",
                "message": "",
                "seconds": {"Adding": 3.0, "Proving": 6.0},
            }
        ],
    }


def test_all_kinds_have_to_be_through() -> None:
    follower = Follower("s", "", 0.0)
    follower.update(status(users=("Idle", ("s",)), signing_keys=("Adding", ("s",))), 1.0)
    assert not follower.done
    follower.update(status(users=("Idle", ("s",)), signing_keys=("Idle", ("s",))), 2.0)
    assert follower.done


def test_a_kind_whose_turn_comes_later_is_waited_for() -> None:
    follower = Follower("s", "", 0.0)
    follower.update(status(users=("Idle", ("s",)), signing_keys=("Idle", ("old",))), 1.0)
    assert not follower.done


def test_only_the_kind_asked_for_counts() -> None:
    follower = Follower("s", "users", 0.0)
    follower.update(status(users=("Idle", ("s",)), signing_keys=("Adding", ("old",))), 1.0)
    assert follower.done
    assert [kind["name"] for kind in follower.data(1.0)["kinds"]] == ["users"]


def test_what_a_phase_waits_for_is_reported_once() -> None:
    follower = Follower("s", "", 0.0)
    told = {
        "rotation": [
            {"name": "users", "phase": "Proving", "handledTokens": ["s"], "message": "chat-1"}
        ]
    }
    assert follower.update(told, 1.0) == ["users: Proving", "users: chat-1"]
    assert follower.update(told, 2.0) == []


def test_an_operator_without_rotation_is_borne() -> None:
    follower = Follower("s", "", 0.0)
    assert follower.update({}, 1.0) == []
    assert follower.update({"rotation": [{}]}, 1.0) == []
    assert not follower.done
