"""What updates show of the records behind them."""
