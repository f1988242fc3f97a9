"""Attacks: pure functions that rewrite what the corrupt clients send."""

from attacks.byzantine import gaussian, sign_flip

__all__ = ["gaussian", "sign_flip"]
