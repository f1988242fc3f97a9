"""How well an attack did, and which epsilon that refutes."""
