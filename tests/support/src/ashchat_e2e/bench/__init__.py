"""Benchmarks against a running AshChat: bounded in count and time, on this machine only."""
