import threading
import time
from collections.abc import Sequence

import pytest

from ashchat_dev.graph import Batched, Task, UnrunnableGraphError, check, run


def test_each_task_runs_after_what_it_needs() -> None:
    order: list[str] = []
    tasks = [
        Task("load", "load", lambda: order.append("load"), ("build", "cluster")),
        Task("build", "images", lambda: order.append("build"), ("base",)),
        Task("base", "images", lambda: order.append("base")),
        Task("cluster", "cluster", lambda: order.append("cluster")),
    ]
    spans = run(tasks, {"images": 2})
    assert order.index("base") < order.index("build") < order.index("load")
    assert order[-1] == "load"
    assert [span.kind for span in spans].count("images") == 2
    assert all(span.begun <= span.ended for span in spans)


def test_a_kind_takes_no_more_than_its_slots() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def work() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    run([Task(str(number), "images", work) for number in range(6)], {"images": 2})
    assert most == [2]


def test_tasks_of_one_batched_action_that_are_ready_run_together() -> None:
    batches: list[list[str]] = []
    alone: list[str] = []

    def load(items: Sequence[str]) -> None:
        batches.append(list(items))

    def others(items: Sequence[str]) -> None:
        alone.extend(items)

    tasks = [
        Task("load a", "load", Batched(load, "a"), ("cluster",)),
        Task("load b", "load", Batched(load, "b"), ("cluster",)),
        Task("load c", "load", Batched(load, "c"), ("build c",)),
        Task("load d", "load", Batched(others, "d")),
        Task("build c", "images", lambda: None, ("load a", "load b")),
        Task("cluster", "cluster", lambda: None),
    ]
    spans = run(tasks, {})
    assert batches == [["a", "b"], ["c"]]
    assert alone == ["d"]
    assert [span.kind for span in spans].count("load") == 3


def test_the_failure_of_a_batch_is_raised() -> None:
    def fail(items: Sequence[str]) -> None:
        raise ConnectionError(f"no room for {', '.join(items)}")

    tasks = [Task(item, "load", Batched(fail, item)) for item in ("a", "b")]
    with pytest.raises(ConnectionError, match="no room for a, b"):
        run(tasks, {})


def test_the_first_failure_is_raised_at_once() -> None:
    forever = threading.Event()

    def fail() -> None:
        raise ConnectionError("no network")

    tasks = [
        Task("slow", "a", forever.wait),
        Task("broken", "b", fail),
        Task("after", "b", pytest.fail, ("broken",)),
    ]
    try:
        with pytest.raises(ConnectionError, match="no network"):
            run(tasks, {})
    finally:
        forever.set()


def test_nothing_to_do_takes_no_time() -> None:
    assert run([], {}) == []


@pytest.mark.parametrize(
    "needs", [{"a": ("b",), "b": ("a",)}, {"a": ("nobody",)}], ids=["circle", "missing"]
)
def test_tasks_that_can_never_run_are_refused(needs: dict[str, tuple[str, ...]]) -> None:
    tasks = {name: Task(name, "k", lambda: None, each) for name, each in needs.items()}
    with pytest.raises(UnrunnableGraphError, match="a"):
        check(tasks)
