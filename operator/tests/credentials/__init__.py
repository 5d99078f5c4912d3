"""Tests of `ashchat_operator.credentials`."""
