"""Probes the health of private ports until standard input ends, in a separate process.

In the process that generates the load, the measured time would include that process's own queue.
Usage: python -m ashchat_e2e.bench.health POD=HOST:PORT …; each response is a line of JSON.
"""

import http.client
import json
import select
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict

from ashchat_e2e.bench.figures import Probe

EVERY_S = 0.05
ANSWER_WITHIN_S = 10.0
PATHS = ("/livez", "/readyz")


class Asking:
    """One connection to one private port, reopened after a failure."""

    def __init__(self, pod: str, address: str) -> None:
        self._pod = pod
        self._connection = http.client.HTTPConnection(address, timeout=ANSWER_WITHIN_S)

    def ask(self, path: str) -> Probe:
        """Send a probe; return the response and its duration; status 0 means no response."""
        started = time.monotonic()
        status = 0
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            self._connection.close()
        return Probe(started, path, self._pod, time.monotonic() - started, status)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def rounds(asking: list[Asking]) -> Iterator[tuple[Asking, str]]:
    """Yield (pod, path) pairs round-robin, forever."""
    while True:
        for path in PATHS:
            for one in asking:
                yield one, path


def main(arguments: list[str]) -> int:
    """Send probes until standard input ends; return the exit code."""
    targets = [argument.rpartition("=") for argument in arguments]
    asking = [Asking(pod, address) for pod, _, address in targets]
    due = time.monotonic()
    for one, path in rounds(asking):
        due = max(due + EVERY_S, time.monotonic())
        if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            break
        with suppress(BrokenPipeError):
            sys.stdout.write(json.dumps(asdict(one.ask(path))) + "\n")
    for one in asking:
        one.close()
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
