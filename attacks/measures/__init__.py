"""Measures: how well an attack did, and which epsilon its success refutes."""
