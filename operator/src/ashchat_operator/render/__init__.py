"""What one AshChat consists of, as pure functions: models in, Kubernetes objects out.

One file per component. Nothing here reads the cluster, the clock or randomness, so the
same resource with the same credentials always gives the same objects, byte for byte.
"""
