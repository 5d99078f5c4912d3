"""Tests of `ashchat_operator.backends`."""
