"""What happens to an AshChat besides its rendering: deletion, annotations, switches."""
