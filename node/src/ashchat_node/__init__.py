"""A real one-node Kubernetes from packages, for machines without Docker or a registry."""
