"""Sums whose clients a rule chooses, by sketches of their updates that they deal in shares."""
