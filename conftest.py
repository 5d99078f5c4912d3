"""For every suite: how slow a machine is decides over no test of a rule.

Property tests draw the same examples in every run, so that a failure is reproduced by running the
test again, and what passed for its author passes for others. `make soak` draws new ones, and more.
"""

import os

from hypothesis import settings

settings.register_profile("ashchat", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=1_000)
settings.load_profile("soak" if os.environ.get("ASHCHAT_SOAK") else "ashchat")
