"""kind, kubectl and helm: from PATH, or else built from Go modules."""

import os
import shutil
from pathlib import Path
from typing import Final

from ashchat_node.gotools import GoTools
from ashchat_node.progress import Progress

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ashchat"
"""What a user who is not root can write to."""

LOGS: Final = CACHE / "log"


def program(name: str, progress: Progress) -> Path:
    """Return a program, from PATH or built.

    Raises:
        NodeError: It is neither on PATH nor can it be built.
    """
    if found := shutil.which(name):
        return Path(found)
    return GoTools(CACHE, log=LOGS).build(name, progress)[name]
