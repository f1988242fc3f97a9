"""How much privacy releases cost: epsilon, delta and the noise that reaches them."""
