"""Masked aggregation: the server opens one sum and nothing else (Bonawitz et al., CCS 2017, active adversaries)."""
