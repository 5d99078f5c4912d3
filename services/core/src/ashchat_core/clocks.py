"""How much the clocks of two nodes may differ."""

from typing import Final

CLOCK_SKEW_SECONDS: Final = 30
"""Accepted difference between two clocks, for tokens and for deadlines in messages, in seconds.

Clocks of virtual machines drift after a pause until NTP has corrected them.
"""
