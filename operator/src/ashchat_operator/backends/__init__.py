"""The backends of one AshChat: what they must hold, and their administration clients."""
