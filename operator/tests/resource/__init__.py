"""Tests of `ashchat_operator.resource`."""
