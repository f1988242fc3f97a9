"""Channels: bytes in, bytes out, until a View appears."""
