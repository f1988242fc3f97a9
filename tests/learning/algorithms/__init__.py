"""Tests of algorithms for unlike clients."""
