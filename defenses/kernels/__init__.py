"""The arithmetic under the rules: sorting networks, distances, and rows kept on the host or a device."""
