"""The arithmetic under the rules: rows on the host or a device, sorting networks, distances."""
