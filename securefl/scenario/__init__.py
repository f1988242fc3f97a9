"""From TOML to a checked scenario, and from that to a federation that can run."""
