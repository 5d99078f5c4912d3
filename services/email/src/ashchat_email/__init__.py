"""The AshChat email service."""
