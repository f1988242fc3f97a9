"""Attacks that tell who trained, or what records are like."""
