"""The AshChat static service."""
