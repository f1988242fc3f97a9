"""Rules, attacks, models, data and steps that somebody else wrote.

A scenario names them as "python:FILE.py:function", or by a name that an installed package has
registered as an entry point.
"""
