"""From a checked scenario to its parts, and from them to a federation."""
