"""Render the Kubernetes objects of one AshChat. Pure functions of the model.

One file per component. Nothing here reads the cluster, the clock or randomness, so the
same resource with the same credentials always gives the same objects, byte for byte.
"""
