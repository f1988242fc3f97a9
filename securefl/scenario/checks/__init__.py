"""Refuses, before anything runs, a scenario whose parts do not fit, with the ways out."""
