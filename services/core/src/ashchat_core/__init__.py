"""What the AshChat services share: settings, messages, adapters, tokens, health."""
