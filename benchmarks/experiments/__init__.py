"""Experiments whose tables are published; run from a checkout."""
