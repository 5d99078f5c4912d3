"""For every suite: how slow a machine is decides over no test of a rule."""

from hypothesis import settings

settings.register_profile("ashchat", deadline=None)
settings.load_profile("ashchat")
