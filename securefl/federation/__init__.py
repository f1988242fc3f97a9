"""One round of federated learning: clients, adversary, channel, rule and server step."""
