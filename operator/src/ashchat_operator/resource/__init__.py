"""The AshChat resource: its model, and the names of the objects that belong to it."""
