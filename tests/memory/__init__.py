"""Tests of the facade: what callers of `Mimir` see."""
