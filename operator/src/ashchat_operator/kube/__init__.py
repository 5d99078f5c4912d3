"""The Kubernetes API: requests, server-side apply, watches, events, leader election."""
