"""Tests of `ashchat_operator.reconcile`."""
