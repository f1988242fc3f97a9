"""The room of what people see: commands, displays, tables, figures and the report page.

It is the top of the house: it may import every room, and no room imports it. Only here does
anything print, and only `figures.py` draws. It computes no result of its own: numbers come from
the rooms below as values.
"""
