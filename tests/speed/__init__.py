"""Tests of the speed comparisons."""
