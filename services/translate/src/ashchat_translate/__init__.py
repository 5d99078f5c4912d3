"""The AshChat translate service."""
