"""A Kubernetes cluster over HTTP and kubectl, as the demo, the suite and the benchmarks see it."""
