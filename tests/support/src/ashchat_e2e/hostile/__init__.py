"""Hostile load from pods: a stranger's host and an account's, at fixed rates."""
