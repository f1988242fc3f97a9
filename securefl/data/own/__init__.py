"""People's own records: arrays, image folders, tables, and what a user's function returns.

For `securefl.scenario`, which chooses a source from the data table of a scenario. A source reads
records, and `split.federated` makes a federation of them. Under a DP claim a source refuses nothing
for what is in one record: each record is cleaned, or dropped, on its own.
"""
