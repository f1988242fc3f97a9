"""CKKS: clients add their updates under encryption, and only clients open the sum."""
