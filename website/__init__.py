"""Builds the documentation site from docs/ and from docstrings: `make docs`.

Nothing here is installed with the package, and nothing imports it: `stage` lays out the pages,
Zensical turns them into HTML, and `check` follows every link of the result.
"""
