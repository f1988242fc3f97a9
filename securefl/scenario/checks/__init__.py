"""Refuses a scenario whose parts do not fit, before anything runs."""
