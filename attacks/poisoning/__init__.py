"""Poisoning: attacks on the rows that clients send, or on the records that they train on."""
