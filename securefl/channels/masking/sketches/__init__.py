"""Sketches of updates, dealt in shares: a rule chooses clients before one masked sum opens."""
