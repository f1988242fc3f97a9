"""Model cards: what a version of a model is, how good, at what price, and who saw what."""
