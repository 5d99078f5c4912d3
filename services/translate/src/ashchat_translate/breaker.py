"""A circuit breaker: a provider that fails repeatedly is not called for a while.

Closed: calls pass; a number of consecutive failures opens it. Open: no calls until the rest is
over. Half-open: one call passes as a probe; its success closes the breaker, its failure opens it
for twice as long. (M. Nygard, "Release It!", 2nd edition, chapter 5.)
"""

import time
from collections.abc import Callable
from enum import IntEnum


class State(IntEnum):
    """State of a breaker; the number is the metric's value."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class BreakerOpenError(Exception):
    """The provider must not be called now; `retry_in` is in seconds."""

    def __init__(self, retry_in: float) -> None:
        super().__init__(f"the circuit is open for another {retry_in:.1f} s")
        self.retry_in = retry_in


class Breaker:
    """One provider's breaker. Call `enter` before a call, then `success` or `failure`.

    Args:
        threshold: Consecutive failures that open it.
        rest: How long it is open at first, in seconds; doubled by every failed probe.
        rest_max: How long it is open at most, in seconds.
        clock: Returns monotonic seconds.
        on_change: Called with every new state.
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
        """The state after the last call; `enter` turns an open breaker half-open."""
        return self._state

    def enter(self) -> None:
        """Allow a call.

        Raises:
            BreakerOpenError: the provider must not be called now.
        """
        if self._state is State.CLOSED:
            return
        wait = self._open_until - self._clock()
        if wait > 0:
            raise BreakerOpenError(wait)
        # A probe blocks other calls as long as the breaker would be open: one that hangs or is
        # cancelled is followed by another probe instead of a stuck breaker.
        self._open_until = self._clock() + self._rest
        self._change(State.HALF_OPEN)

    def success(self) -> None:
        """Record that the provider responded, even if it rejected the call."""
        self._failures = 0
        self._rest = self._first_rest
        self._change(State.CLOSED)

    def failure(self) -> None:
        """Record that the provider was unreachable, timed out or failed."""
        self._failures += 1
        if self._state is State.HALF_OPEN:
            self._rest = min(self._rest * 2, self._rest_max)
        elif self._state is State.OPEN or self._failures < self._threshold:
            return  # open: the result of a call that began before it opened
        self._open_until = self._clock() + self._rest
        self._change(State.OPEN)

    def _change(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            self._on_change(state)
