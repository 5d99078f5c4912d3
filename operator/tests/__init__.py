"""A package, unlike the other test folders, and it must remain one.

Without this file pytest imports these modules as `operator.tests.…`, with an empty module
instead of Python's own `operator`.
"""
