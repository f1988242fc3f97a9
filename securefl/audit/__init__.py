"""Audits: named mistakes in run folders, and what an adversary measurably learns."""
