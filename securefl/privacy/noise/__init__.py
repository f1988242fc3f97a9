"""Noise that claims differential privacy."""
