#!/usr/bin/python3
"""Translate a word in every pair that the engine lists; fail if one of them cannot.

Usage: check-pairs EXPECTED. The file EXPECTED has the pairs that the image must offer, one a line.

A pair can lack a program: its package does not depend on everything that its pipeline runs, and
the engine lists it nevertheless (https://github.com/apertium/apertium-apy/issues/87).
"""

import json
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

PORT = 2737
STARTED_SECONDS = 60
ANSWERED_SECONDS = 60


def get(path: str, **form: str) -> Any:
    """Return the engine's answer to a request."""
    data = urllib.parse.urlencode(form).encode() if form else None
    url = f"http://127.0.0.1:{PORT}{path}"
    with urllib.request.urlopen(url, data, timeout=ANSWERED_SECONDS) as response:
        return json.load(response)["responseData"]


def listed() -> list[str]:
    """Return the pairs that the engine lists, once it has started."""
    end = time.monotonic() + STARTED_SECONDS
    while True:
        try:
            rows = get("/listPairs")
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return sorted(f"{row['sourceLanguage']}|{row['targetLanguage']}" for row in rows)


def runs(pair: str) -> bool:
    """Return whether a pair translates."""
    try:
        return bool(get("/translate", langpair=pair, q="a")["translatedText"].strip())
    except (urllib.error.URLError, ConnectionError, KeyError):
        return False


def main() -> None:
    """Compare what the engine offers with what it must offer."""
    expected = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").split()
    engine = subprocess.Popen(
        ["apertium-apy", "-p", str(PORT), "/usr/share/apertium"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pairs = listed()
        broken = [pair for pair in pairs if not runs(pair)]
    finally:
        # Not SIGTERM: the engine waits for its pipelines then, which may take forever.
        engine.kill()
        engine.wait()
    if broken or pairs != sorted(expected):
        sys.exit(f"cannot run: {broken}\nlisted: {pairs}\nexpected: {sorted(expected)}")


if __name__ == "__main__":
    main()
