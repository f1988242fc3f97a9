"""Turns what is seen in other topologies than that of one server into knowledge of a client."""
