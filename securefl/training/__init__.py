"""Training: local steps at a client, one step at the server."""
