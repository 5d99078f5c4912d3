"""Tests of `ashchat_operator.kube`."""
