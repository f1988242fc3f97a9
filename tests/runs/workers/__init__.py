"""Modules that a server of workers is told to import, and what its workers then do instead."""
