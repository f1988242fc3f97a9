"""Robust rules: many rows in, one estimate out."""
