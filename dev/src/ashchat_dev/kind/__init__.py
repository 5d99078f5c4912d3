"""Kubernetes in Docker: kind's clusters, with official or with packaged images."""
