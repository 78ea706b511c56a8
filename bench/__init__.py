"""Benchmarks: `python -m bench --help`. Every figure in the README is printed by one of these."""
