"""The checker detects every violation, and accepts what a correct chat may do."""

import pytest

from ashchat_e2e.history import History, ViolationsError


def sent(*messages: str, room: str = "kitchen", sender: str = "ana") -> History:
    history = History()
    for message in messages:
        history.send(room, sender, message)
        history.acknowledged(message)
    return history


def found(history: History) -> str:
    with pytest.raises(ViolationsError) as error:
        history.check()
    return " | ".join(error.value.found)


def test_a_history_where_everyone_reads_everything_is_accepted() -> None:
    history = sent("a1", "a2")
    history.send("kitchen", "ben", "b1")
    history.acknowledged("b1")
    history.read("ana", "kitchen", ["a1", "b1", "a2"])
    history.read("ben", "kitchen", ["a1", "b1", "a2"])
    history.check()


def test_an_acknowledged_message_that_a_reader_lacks_is_a_loss() -> None:
    history = sent("a1", "a2")
    history.read("ben", "kitchen", ["a1"])
    assert "ben in kitchen lacks 'a2', which was acknowledged" in found(history)


def test_a_message_of_unknown_outcome_may_be_missing_or_there() -> None:
    for reading in (["a1"], ["a1", "a2"]):
        history = sent("a1")
        history.send("kitchen", "ana", "a2")
        history.read("ana", "kitchen", reading)
        history.read("ben", "kitchen", reading)
        history.check()
        assert history.counts == {"sent": 2, "acknowledged": 1, "unknown": 1}


def test_a_duplicate_message_is_caught() -> None:
    history = sent("a1")
    history.read("ben", "kitchen", ["a1", "a1"])
    assert "'a1' 2 times" in found(history)


def test_a_message_that_nobody_sent_is_caught() -> None:
    history = sent("a1")
    history.read("ben", "kitchen", ["a1", "ghost"])
    assert "'ghost', which nobody sent" in found(history)


def test_a_message_that_turns_up_in_another_room_is_caught() -> None:
    history = sent("a1")
    history.read("ben", "kitchen", ["a1"])
    history.read("eve", "garden", ["a1"])
    assert "eve in garden has 'a1' of the room kitchen" in found(history)


def test_a_message_that_was_refused_but_stored_is_caught() -> None:
    history = sent("a1")
    history.send("kitchen", "ana", "a2")
    history.refused("a2")
    history.read("ben", "kitchen", ["a1", "a2"])
    assert "'a2', which was refused" in found(history)


def test_a_refusal_of_one_attempt_does_not_undo_the_acknowledgement_of_another() -> None:
    history = sent("a1")
    history.refused("a1")
    history.read("ben", "kitchen", ["a1"])
    history.check()


def test_readers_who_disagree_about_the_order_are_caught() -> None:
    history = sent("a1")
    history.send("kitchen", "ben", "b1")
    history.acknowledged("b1")
    history.read("ana", "kitchen", ["a1", "b1"])
    history.read("ben", "kitchen", ["b1", "a1"])
    assert "in kitchen ana has 'a1' where ben has 'b1'" in found(history)


def test_readers_who_disagree_about_an_unknown_outcome_are_caught() -> None:
    history = sent("a1")
    history.send("kitchen", "ana", "a2")
    history.read("ana", "kitchen", ["a1", "a2"])
    history.read("ben", "kitchen", ["a1"])
    assert "only one of ana and ben has 'a2'" in found(history)


def test_one_senders_acknowledged_messages_in_the_wrong_order_are_caught() -> None:
    history = sent("a1", "a2")
    history.read("ben", "kitchen", ["a2", "a1"])
    assert "ben in kitchen has ana's 'a2' before 'a1'" in found(history)


def test_a_room_that_nobody_read_proves_nothing() -> None:
    assert "nobody read the room kitchen" in found(sent("a1"))


def test_using_an_id_twice_is_an_error_in_the_test() -> None:
    history = sent("a1")
    history.send("kitchen", "ana", "a1")  # a retry of the same message is allowed
    with pytest.raises(ValueError, match="twice"):
        history.send("garden", "ana", "a1")
    with pytest.raises(ValueError, match="never sent"):
        history.acknowledged("a2")
