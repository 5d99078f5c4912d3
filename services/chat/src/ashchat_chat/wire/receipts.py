"""What a client has received: a pong comes after everything that was sent before its ping.

Every WebSocket stack answers a ping by itself (RFC 6455, section 5.5.2), also those of the
original's clients.
"""

from collections.abc import Callable


class Receipts:
    """Calls functions when what was sent before has arrived; one ping is on its way at most."""

    __slots__ = ("_next", "_number", "_pinged", "_send_ping")

    def __init__(self, send_ping: Callable[[bytes], None]) -> None:
        self._send_ping = send_ping
        self._number = 0
        self._pinged: list[Callable[[], None]] = []
        self._next: list[Callable[[], None]] = []

    def when_received(self, call: Callable[[], None]) -> None:
        """Call a function once the client has received everything that was sent so far."""
        self._next.append(call)
        if not self._pinged:
            self._ping()

    def pong(self, data: bytes) -> None:
        """Accept a pong; only the answer to the last ping is one of these."""
        if not self._pinged or data != self._name():
            return
        received, self._pinged = self._pinged, []
        if self._next:
            self._ping()
        for call in received:
            call()

    def _ping(self) -> None:
        self._pinged, self._next = self._next, []
        self._number += 1
        self._send_ping(self._name())

    def _name(self) -> bytes:
        return str(self._number).encode()
