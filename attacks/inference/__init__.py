"""Attacks that infer: which records a model was trained with, and what those records are like."""
