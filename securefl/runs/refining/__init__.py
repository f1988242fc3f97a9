"""Later versions of a model: refined on other records, released by a gate, rolled back.

The versions of a model are a series. It lives next to its first run, see `series`.
"""
