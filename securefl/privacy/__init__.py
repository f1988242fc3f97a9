"""Privacy: what a release costs, who may still spend, and the noise that pays for it."""
