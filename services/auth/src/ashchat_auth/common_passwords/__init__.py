"""The common passwords that nobody may have; where they are from is in NOTICE.txt."""

import gzip
from importlib.resources import files


def load() -> frozenset[str]:
    """Return them: NFKC, casefolded, of 8 characters and more. About 2 MB, looked up at once."""
    packed = (files(__name__) / "list.txt.gz").read_bytes()
    return frozenset(gzip.decompress(packed).decode().split("\n")) - {""}
