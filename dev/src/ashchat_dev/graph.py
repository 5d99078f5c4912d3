"""Tasks that need each other, run side by side: so many at a time of each kind.

A task is started as soon as what it needs is done and its kind has a free slot. The first
failure is raised at once; what is still running is left to itself.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do.

    Attributes:
        name: Unique among the tasks of a run.
        kind: Whose slots it takes; also the phase it is counted under.
        action: What to do; raises when it fails.
        needs: Names of the tasks to be done before.
    """

    name: str
    kind: str
    action: Callable[[], object]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """When a task ran, by time.monotonic()."""

    kind: str
    begun: float
    ended: float


class UnrunnableGraphError(ValueError):
    """A task needs something that is not there, or tasks need each other in a circle."""


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
    finished: queue.Queue[tuple[Task, float, BaseException | None]] = queue.Queue()
    running: dict[str, int] = {}
    done: set[str] = set()
    spans: list[Span] = []

    def perform(task: Task) -> None:
        begun = time.monotonic()
        try:
            task.action()
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            finished.put((task, begun, error))
        else:
            finished.put((task, begun, None))

    while waiting or any(running.values()):
        for task in list(waiting.values()):
            if done.issuperset(task.needs) and running.get(task.kind, 0) < slots.get(task.kind, 1):
                del waiting[task.name]
                running[task.kind] = running.get(task.kind, 0) + 1
                # A daemon: after a failure elsewhere nobody waits for it.
                threading.Thread(target=perform, args=(task,), name=task.name, daemon=True).start()
        task, begun, error = finished.get()
        if error is not None:
            raise error
        running[task.kind] -= 1
        done.add(task.name)
        spans.append(Span(task.kind, begun, time.monotonic()))
    return spans


def check(tasks: Mapping[str, Task]) -> None:
    """Refuse tasks that could never all run.

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
