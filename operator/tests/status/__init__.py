"""Tests of `ashchat_operator.status`."""
