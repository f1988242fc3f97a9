"""Federated learning with differential privacy, secure aggregation and attacks, measured side by side."""
