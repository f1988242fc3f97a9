"""Other ways than a server to play a round: who hands which model to whom.

A topology is an `engine.Play`. It plays a round of the same federation, of the same clients with
their ledgers and records, and its rounds are kept, resumed and reported like those of a server.
"""
