"""Reconstruction: attacks that recover training records from gradients and updates."""
