"""Helpers of the end-to-end suite: they observe, disturb and load a running AshChat."""
