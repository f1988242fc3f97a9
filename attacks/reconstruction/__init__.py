"""Attacks that find records from updates."""
