"""From a checked scenario to a federation that can run, in two steps: parts, then the whole."""
