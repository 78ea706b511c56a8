"""The tests of Mimir."""
