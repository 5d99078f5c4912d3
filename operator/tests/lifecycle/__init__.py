"""Tests of `ashchat_operator.lifecycle`."""
