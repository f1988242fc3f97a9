"""Trains several clients at once, where many of them share one small model."""
