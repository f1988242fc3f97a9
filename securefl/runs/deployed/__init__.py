"""A scenario between processes that share nothing but messages: one coordinator, one agent a site.

`envelope` is what travels, `links` carries it, `agent` answers it, `coordinator` asks and plays the
rounds, and `rehearsal` does it all on one machine and compares the model with the simulation's.
"""
