"""The models a scenario can name."""
