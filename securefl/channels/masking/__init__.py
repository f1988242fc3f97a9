"""Masked aggregation against an active adversary: the server opens one sum and nothing else.

Source: Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning",
CCS 2017.
"""
