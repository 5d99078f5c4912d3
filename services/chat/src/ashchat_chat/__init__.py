"""The AshChat chat service."""
