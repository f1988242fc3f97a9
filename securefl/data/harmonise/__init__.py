"""Steps that make records of unlike sites more alike, before anything trains on them.

A record-local step maps each record by itself, by declared constants, and costs no privacy. A
fitted step rests on statistics of many records, which the sites pay for.
"""
