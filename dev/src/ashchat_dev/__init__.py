"""What `make` runs: up, down, demo, test."""
