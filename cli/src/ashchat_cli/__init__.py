"""`kubectl ashchat`: what a person asks an AshChat and its operator.

app → status, doctor, follow, letters (pure) → cluster, tunnel, broker (adapters)
"""
