"""Tests of `mimir_core.crypto`."""
