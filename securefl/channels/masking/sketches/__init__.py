"""Sketches dealt in shares: a rule chooses clients by distances, and one sum of them opens."""
