"""Measures what updates reveal of the records behind them, next to guessing."""
