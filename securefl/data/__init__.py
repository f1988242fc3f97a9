"""Data of a federation: sites with records of their own, and the task they share."""
