"""The credentials of one AshChat: which there are, which are used, and their rotation."""
