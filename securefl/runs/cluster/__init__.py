"""Cells of a study on a cluster: the head keeps every file, nodes get and return bytes."""
