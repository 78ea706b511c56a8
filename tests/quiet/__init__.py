"""Tests that Mimir and what it stands on keep quiet."""
