"""A rule, an attack and a model that securefl finds once this package is installed."""
