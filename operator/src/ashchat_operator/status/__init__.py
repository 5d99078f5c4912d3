"""The status of an AshChat: its components and conditions."""
