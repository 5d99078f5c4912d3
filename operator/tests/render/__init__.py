"""Tests of `ashchat_operator.render`."""
