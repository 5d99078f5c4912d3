"""A circuit breaker: a provider that keeps failing is left alone for a while.

Closed: calls go through; so many failures in a row open it. Open: nobody calls until the
rest is over. Half-open: one call goes through as a probe; its success closes the breaker,
its failure opens it for twice as long. (M. Nygard, "Release It!", 2nd edition, chapter 5.)
"""

import time
from collections.abc import Callable
from enum import IntEnum


class State(IntEnum):
    """What the breaker does with a call; the number is the metric's value."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class BreakerOpen(Exception):
    """The provider is not to be called now; `retry_in` is in seconds."""

    def __init__(self, retry_in: float) -> None:
        super().__init__(f"the circuit is open for another {retry_in:.1f} s")
        self.retry_in = retry_in


class Breaker:
    """One provider's breaker. `enter` before a call, then exactly one of the others.

    Args:
        threshold: failures in a row that open it.
        rest: seconds it stays open at first; doubled by every failed probe.
        rest_max: seconds it stays open at most.
        clock: monotonic seconds; a test gives its own.
        on_change: told every new state, for the metric.
    """

    def __init__(
        self,
        *,
        threshold: int = 5,
        rest: float = 1.0,
        rest_max: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[State], None] = lambda _: None,
    ) -> None:
        self._threshold = threshold
        self._first_rest = self._rest = rest
        self._rest_max = rest_max
        self._clock = clock
        self._on_change = on_change
        self._failures = 0
        self._open_until = 0.0
        self._state = State.CLOSED
        on_change(self._state)

    @property
    def state(self) -> State:
        """The state as the last call left it (an open one turns half-open when entered)."""
        return self._state

    def enter(self) -> None:
        """Ask to make a call.

        Raises:
            BreakerOpen: not now.
        """
        if self._state is State.CLOSED:
            return
        wait = self._open_until - self._clock()
        if wait > 0:
            raise BreakerOpen(wait)
        # The probe holds the door as long as the breaker would rest: a probe that hangs
        # or is cancelled is followed by another one, not by a breaker that is stuck.
        self._open_until = self._clock() + self._rest
        self._become(State.HALF_OPEN)

    def success(self) -> None:
        """Tell that the provider answered, if only to refuse."""
        self._failures = 0
        self._rest = self._first_rest
        self._become(State.CLOSED)

    def failure(self) -> None:
        """Tell that the provider could not be reached, timed out or broke."""
        self._failures += 1
        if self._state is State.HALF_OPEN:
            self._rest = min(self._rest * 2, self._rest_max)
        elif self._state is State.OPEN or self._failures < self._threshold:
            return  # open: the answer of a call that began before it opened
        self._open_until = self._clock() + self._rest
        self._become(State.OPEN)

    def _become(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            self._on_change(state)
