"""The Kubernetes operator of AshChat."""
