"""The AshChat auth service."""
