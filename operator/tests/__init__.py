"""A package, unlike the other test folders, and that must stay so.

Without this file pytest calls these modules `operator.tests.…` and puts an empty module in
the place of Python's own `operator`.
"""
