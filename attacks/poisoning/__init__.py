"""Attacks by clients that take part: on the rows they send, and on the records they train on."""
