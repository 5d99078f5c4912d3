"""Code shared by the AshChat services, the operator and the CLI."""

__version__ = "0.1.0"
"""The version of AshChat: of every distribution, image and chart of this repository.

Each pyproject.toml reads it from here; what must repeat it (the chart, the installation page) is
compared with it by `dev/tests/test_version.py`.
"""
