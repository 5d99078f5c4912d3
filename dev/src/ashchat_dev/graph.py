"""Runs tasks with dependencies concurrently, with a limit for each kind.

A task starts as soon as its dependencies are done and its kind has a free slot. The first
failure is raised at once; tasks that are still running are not stopped.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batched:
    """A part of an action that is cheaper for several items together.

    Attributes:
        action: Receives the items of all tasks that are ready when it starts.
        item: This task's.
    """

    action: Callable[[Sequence[str]], object]
    item: str


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do.

    Attributes:
        name: Unique among the tasks of a run.
        kind: Whose slots it takes; also the phase it is counted under.
        action: What to do, possibly together with other tasks; raises when it fails.
        needs: Names of the tasks to be done before.
    """

    name: str
    kind: str
    action: Callable[[], object] | Batched
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """When a task, or several of a batch, ran, by time.monotonic()."""

    kind: str
    begun: float
    ended: float


class UnrunnableGraphError(ValueError):
    """A task depends on one that does not exist, or dependencies form a cycle."""


def run(tasks: Iterable[Task], slots: Mapping[str, int]) -> list[Span]:
    """Run tasks, each after those it needs.

    Args:
        tasks: In the order in which to prefer them.
        slots: How many tasks of a kind may run at the same time; 1 where not given.

    Returns:
        When each task ran, in the order in which they ended.

    Raises:
        UnrunnableGraphError: See there; nothing was run.
        BaseException: What the first task to fail raised.
    """
    waiting = {task.name: task for task in tasks}
    check(waiting)
    finished: queue.Queue[tuple[list[Task], float, BaseException | None]] = queue.Queue()
    running: dict[str, int] = {}
    done: set[str] = set()
    spans: list[Span] = []

    def perform(batch: list[Task]) -> None:
        begun = time.monotonic()
        try:
            _act(batch)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            finished.put((batch, begun, error))
        else:
            finished.put((batch, begun, None))

    while waiting or any(running.values()):
        ready = [task for task in waiting.values() if done.issuperset(task.needs)]
        for batch in _batches(ready):
            kind, name = batch[0].kind, batch[0].name
            if running.get(kind, 0) < slots.get(kind, 1):
                for task in batch:
                    del waiting[task.name]
                running[kind] = running.get(kind, 0) + 1
                # A daemon: after a failure elsewhere nobody waits for it.
                threading.Thread(target=perform, args=(batch,), name=name, daemon=True).start()
        batch, begun, error = finished.get()
        if error is not None:
            raise error
        running[batch[0].kind] -= 1
        done.update(task.name for task in batch)
        spans.append(Span(batch[0].kind, begun, time.monotonic()))
    return spans


def _batches(ready: Iterable[Task]) -> list[list[Task]]:
    """Group the tasks of one batched action; every other task is alone."""
    batches: dict[object, list[Task]] = {}
    for task in ready:
        key = task.action.action if isinstance(task.action, Batched) else task.name
        batches.setdefault(key, []).append(task)
    return list(batches.values())


def _act(batch: Sequence[Task]) -> None:
    action = batch[0].action
    if isinstance(action, Batched):
        items = (task.action.item for task in batch if isinstance(task.action, Batched))
        action.action(list(items))
    else:
        action()


def check(tasks: Mapping[str, Task]) -> None:
    """Reject tasks that could never all run.

    Raises:
        UnrunnableGraphError: See there.
    """
    done: set[str] = set()
    while len(done) < len(tasks):
        ready = {
            name for name, task in tasks.items() if name not in done and done.issuperset(task.needs)
        }
        if not ready:
            raise UnrunnableGraphError(f"cannot be run: {', '.join(sorted(set(tasks) - done))}")
        done |= ready
